// Who is signed in. The access token lives in memory only; the refresh token in this tab's sessionStorage, so that a
// reload keeps the session and another tab does not share it. Tokens never enter a URL.
import { signal } from "@preact/signals";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient, type Interceptor } from "@connectrpc/connect";
import { AuthService, type TokenPair } from "./gen/crater/user/v1/auth_service_pb.js";
import { MemberRole, type Membership, type User } from "./gen/crater/user/v1/resources_pb.js";
import { JobService } from "./gen/crater/job/v1/job_service_pb.js";
import { QuotaService } from "./gen/crater/quota/v1/quota_service_pb.js";
import { SchedulingService } from "./gen/crater/scheduling/v1/scheduling_service_pb.js";
import { UserService } from "./gen/crater/user/v1/user_service_pb.js";
import { backoff } from "./stream.js";
import { transport, uuid } from "./rpc.js";

const REFRESH_KEY = "crater.refresh";
const OWNER_KEY = "crater.tab";
/** Renew so long before the end, yet never in a tight loop when the clocks of browser and server differ. */
const RENEW_BEFORE_MS = 60_000;
const RENEW_AT_LEAST_MS = 15_000;
/** A page that is being reloaded needs a moment to let go of its session. */
const LOCK_MS = 3_000;
/** Who signs out does not wait for a server that is away. */
const LOGOUT_MS = 3_000;

export type State = "restoring" | "out" | "in";
export interface Me {
  user: User;
  memberships: Membership[];
  /** "accounts/{account}" that new jobs go to where none is named; empty for who is in none. */
  acting: string;
}

export const state = signal<State>("restoring");
export const me = signal<Me | null>(null);
/** Whether the session ended by itself, so that the sign-in page can say so. */
export const ended = signal(false);

let access = "";
let timer: ReturnType<typeof setTimeout> | undefined;
let renewing: Promise<void> | null = null;
let letGoOfTab: (() => void) | undefined;

const door = createClient(AuthService, transport("unary"));

const authorize: Interceptor = (next) => async (request) => {
  const send = () => {
    if (access) request.header.set("authorization", `Bearer ${access}`);
    return next(request);
  };
  const used = access;
  try {
    return await send();
  } catch (cause) {
    if (request.stream || !expired(cause)) throw cause;
    await renew(used);
    return await send();
  }
};

export const auth = createClient(AuthService, transport("unary", [authorize]));
export const jobs = createClient(JobService, transport("unary", [authorize]));
export const scheduling = createClient(SchedulingService, transport("unary", [authorize]));
export const quotas = createClient(QuotaService, transport("unary", [authorize]));
export const people = createClient(UserService, transport("unary", [authorize]));
/** Streams carry no deadline; who follows one renews the session itself (see stream.ts). */
export const streams = createClient(JobService, transport("stream", [authorize]));
export const clusterStreams = createClient(SchedulingService, transport("stream", [authorize]));

export const expired = (cause: unknown) => ConnectError.from(cause).code === Code.Unauthenticated;

/** The access token of this moment, for `renew`. */
export const token = () => access;

/**
 * A new pair of tokens in place of this one, unless there is one already. Many callers share one call, because a refresh token works once; who
 * hears late that the old one has ended shares what came of it.
 */
export async function renew(used: string): Promise<void> {
  if (used !== access) return;
  renewing ??= renewOnce().finally(() => (renewing = null));
  await renewing;
}

async function renewOnce(): Promise<void> {
  const refreshToken = sessionStorage.getItem(REFRESH_KEY);
  if (!refreshToken) {
    end(true);
    throw new ConnectError("the session has ended", Code.Unauthenticated);
  }
  try {
    const answer = await door.refreshToken({ refreshToken });
    keep(answer.tokens);
  } catch (cause) {
    const refused = [Code.Unauthenticated, Code.PermissionDenied, Code.NotFound, Code.InvalidArgument];
    if (refused.includes(ConnectError.from(cause).code)) end(true);
    throw cause;
  }
}

function keep(tokens: TokenPair | undefined) {
  if (!tokens) throw new ConnectError("the answer holds no tokens", Code.Internal);
  access = tokens.accessToken;
  sessionStorage.setItem(REFRESH_KEY, tokens.refreshToken);
  clearTimeout(timer);
  const life = tokens.accessExpireTime ? timestampMs(tokens.accessExpireTime) - Date.now() : 0;
  timer = setTimeout(renewInTime, Math.max(life - Math.min(RENEW_BEFORE_MS, life / 5), RENEW_AT_LEAST_MS));
}

function renewInTime() {
  renew(access).catch(() => {
    // Refused: the session is over and said so. Unreachable: try again while the old token may still serve.
    if (state.value === "in") timer = setTimeout(renewInTime, RENEW_AT_LEAST_MS);
  });
}

/** Takes up the session of before a reload. */
export async function restore(): Promise<void> {
  if (!sessionStorage.getItem(REFRESH_KEY) || !(await holdTab())) return end(false);
  for (let attempt = 0; ; attempt++) {
    try {
      await renew(access);
      await whoAmI();
      return;
    } catch (cause) {
      if (sessionStorage.getItem(REFRESH_KEY) === null) return;
      if (expired(cause)) return end(true);
      await backoff(attempt);
    }
  }
}

export async function signIn(userId: string, password: string): Promise<void> {
  const answer = await door.login({ userId, password });
  keep(answer.tokens);
  await whoAmI();
  await holdTab();
}

export const isAdmin = () => me.value?.user.platformAdmin ?? false;
/** Whether the reader manages the account: as its manager, or as an admin. */
export const manages = (account: string) =>
  isAdmin() || (me.value?.memberships.some((each) => each.account === account && each.role === MemberRole.MANAGER) ?? false);

/** Asks again who the reader is, after a change of that. */
export async function whoAmI(): Promise<void> {
  const answer = await auth.whoAmI({});
  if (!answer.user) throw new ConnectError("the answer names no user", Code.Internal);
  const acting = answer.actingAccount || (answer.memberships[0]?.account ?? "");
  me.value = { user: answer.user, memberships: answer.memberships, acting };
  ended.value = false;
  state.value = "in";
}

/** Changes the account that new jobs go to. */
export async function actIn(account: string): Promise<void> {
  const answer = await auth.switchAccount({ account });
  if (me.value) me.value = { ...me.value, acting: answer.actingAccount || account };
}

export async function signOut(): Promise<void> {
  try {
    await auth.logout({}, { timeoutMs: LOGOUT_MS });
  } catch {
    // Whether or not the server heard it, this tab forgets the tokens.
  }
  end(false);
}

function end(byItself: boolean) {
  access = "";
  clearTimeout(timer);
  sessionStorage.removeItem(REFRESH_KEY);
  sessionStorage.removeItem(OWNER_KEY);
  letGoOfTab?.();
  letGoOfTab = undefined;
  me.value = null;
  ended.value = byItself;
  state.value = "out";
}

/**
 * Browsers copy sessionStorage into a duplicated tab. Two tabs that spend the same refresh token look like a theft and
 * lose the session, so each session has one tab: it holds a lock for as long as it lives, and a copy signs in anew.
 */
async function holdTab(): Promise<boolean> {
  if (!navigator.locks || letGoOfTab) return true;
  const name = sessionStorage.getItem(OWNER_KEY) ?? uuid();
  sessionStorage.setItem(OWNER_KEY, name);
  return new Promise((resolve) => {
    navigator.locks
      .request(`crater.session.${name}`, { signal: AbortSignal.timeout(LOCK_MS) }, () => {
        resolve(true);
        return new Promise<void>((letGo) => (letGoOfTab = letGo));
      })
      .catch(() => resolve(false));
  });
}
