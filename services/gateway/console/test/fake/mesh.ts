// A small mesh that lives in one process: the generated services over real gRPC-Web, with the console's files beside
// them under the gateway's policy. It exists to develop and test the page; what it decides is scripted by its user.
import { createServer, type Server } from "node:http";
import { readFile } from "node:fs/promises";
import { extname, join, normalize } from "node:path";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, type ConnectRouter, type HandlerContext } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { AuthService, TokenPairSchema } from "../../src/gen/crater/user/v1/auth_service_pb.js";
import { MemberRole, UserState } from "../../src/gen/crater/user/v1/resources_pb.js";
import { Cluster } from "./cluster.js";
import { Bell, invalid, type Call } from "./core.js";
import { Jobs } from "./jobs.js";
import { People } from "./people.js";
import { Quotas } from "./quotas.js";

const DIST = join(import.meta.dirname, "../../dist");
/** As the gateway sends it. */
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; " +
  "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

export class Mesh {
  readonly calls: Call[] = [];
  readonly user = "alice";
  readonly password = "correct horse";
  accessSeconds = 600;
  address = "";
  private readonly bell = new Bell();
  private readonly check = (context: HandlerContext, request: unknown) => this.checked(context, request);
  readonly jobs = new Jobs(this.bell, this.check);
  readonly cluster = new Cluster(this.bell, this.check, this.jobs);
  readonly people = new People(this.check);
  readonly quotas = new Quotas(this.check, this.people);
  /** Whose acting account is which. */
  readonly acting = new Map<string, string>();
  private readonly access = new Map<string, string>();
  private refresh: { token: string; user: string } | null = null;
  private server: Server | undefined;

  constructor() {
    this.people.user(this.user, "Alice", this.password);
    this.people.account("vision", "Vision");
    this.people.account("speech", "Speech");
    this.people.join(this.user, "vision", MemberRole.MANAGER);
    this.people.join(this.user, "speech");
  }

  async start(port = 0): Promise<string> {
    const grpc = connectNodeAdapter({ routes: (router) => this.routes(router), grpc: false, connect: false });
    this.server = createServer((request, response) => {
      if (request.method === "POST") return grpc(request, response);
      void file(request.url ?? "/").then(({ status, type, body }) => {
        response.writeHead(status, { "content-type": type, "content-security-policy": POLICY, "x-content-type-options": "nosniff" });
        response.end(body);
      });
    });
    await new Promise<void>((resolve) => this.server?.listen(port, "127.0.0.1", resolve));
    const address = this.server.address();
    this.address = `http://127.0.0.1:${typeof address === "object" && address ? address.port : port}`;
    return this.address;
  }

  async stop() {
    this.server?.closeAllConnections();
    await new Promise((resolve) => this.server?.close(resolve));
  }

  /** Nothing answers for a while, and every stream ends, as when a gateway is away. */
  away = false;

  /** Ends every open stream, as a gateway that restarts does. */
  cut() {
    this.bell.cut();
  }

  /** Spends every access token that was given. */
  expireAccess() {
    this.access.clear();
  }

  /** Ends the session for good. */
  revoke() {
    this.access.clear();
    this.refresh = null;
    this.cut();
  }

  private tokens(user: string) {
    const accessToken = crypto.randomUUID();
    this.access.set(accessToken, user);
    this.refresh = { token: crypto.randomUUID(), user };
    return create(TokenPairSchema, {
      accessToken,
      accessExpireTime: timestampFromMs(Date.now() + this.accessSeconds * 1000),
      refreshToken: this.refresh.token,
      refreshExpireTime: timestampFromMs(Date.now() + 86_400_000),
    });
  }

  private checked(context: HandlerContext, request: unknown): string {
    this.calls.push({ method: context.method.name, request });
    if (this.away) throw new ConnectError("no service answers", Code.Unavailable);
    const token = context.requestHeader.get("authorization")?.replace(/^Bearer /, "") ?? "";
    const user = this.access.get(token);
    if (!user) throw new ConnectError("the access token is not valid", Code.Unauthenticated);
    return user;
  }

  private routes(router: ConnectRouter) {
    const { check, people } = this;
    router.service(AuthService, {
      login: ({ userId, password }) => {
        const user = people.users.get(`users/${userId}`);
        if (!user || people.passwords.get(user.name) !== password || user.state === UserState.SUSPENDED) {
          throw new ConnectError("the user or the password is wrong", Code.Unauthenticated);
        }
        return { tokens: this.tokens(user.name), user };
      },
      refreshToken: ({ refreshToken }) => {
        this.calls.push({ method: "RefreshToken", request: null });
        if (this.away) throw new ConnectError("no service answers", Code.Unavailable);
        if (!this.refresh || refreshToken !== this.refresh.token) {
          this.refresh = null;
          this.expireAccess();
          throw new ConnectError("the refresh token was used before", Code.Unauthenticated);
        }
        return { tokens: this.tokens(this.refresh.user) };
      },
      logout: (request, context) => {
        check(context, request);
        this.expireAccess();
        this.refresh = null;
        return {};
      },
      whoAmI: (request, context) => {
        const name = check(context, request);
        const user = people.users.get(name);
        const memberships = people.of(name);
        return { ...(user ? { user } : {}), memberships, actingAccount: this.acting.get(name) ?? memberships[0]?.account ?? "" };
      },
      changePassword: ({ currentPassword, newPassword }, context) => {
        const name = check(context, {});
        if (people.passwords.get(name) !== currentPassword) throw invalid("the password cannot be changed", ["current_password", "is not the password"]);
        if (newPassword.length < 8) throw invalid("the password cannot be changed", ["new_password", "must have at least 8 characters"]);
        people.passwords.set(name, newPassword);
        return {};
      },
      switchAccount: ({ account }, context) => {
        const name = check(context, account);
        if (!people.of(name).some((each) => each.account === account)) throw new ConnectError("you are not in it", Code.PermissionDenied);
        this.acting.set(name, account);
        return { actingAccount: account };
      },
    });
    this.jobs.routes(router);
    this.cluster.routes(router, people.demandAdmin);
    this.people.routes(router);
    this.quotas.routes(router);
  }
}

const TYPES: Record<string, string> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
};

async function file(url: string): Promise<{ status: number; type: string; body: Buffer | string }> {
  const path = normalize(new URL(url, "http://console").pathname);
  const name = extname(path) ? path : "/index.html";
  try {
    return { status: 200, type: TYPES[extname(name)] ?? "application/octet-stream", body: await readFile(join(DIST, name)) };
  } catch {
    return { status: 404, type: "text/plain", body: "there is nothing here\n" };
  }
}
