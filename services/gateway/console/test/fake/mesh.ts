// A small mesh that lives in one process: the generated services over real gRPC-Web, with the console's files beside
// them under the gateway's policy. It exists to develop and test the page; what it decides is scripted by its user.
import { createServer, type Server } from "node:http";
import { readFile } from "node:fs/promises";
import { extname, join, normalize } from "node:path";
import { clone, create } from "@bufbuild/protobuf";
import { timestampFromMs, timestampNow } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, type ConnectRouter, type HandlerContext } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { AuthService, TokenPairSchema } from "../../src/gen/crater/user/v1/auth_service_pb.js";
import { MemberRole, UserState } from "../../src/gen/crater/user/v1/resources_pb.js";
import { type CreateJobRequest, JobService, WatchJobsResponse_BookmarkSchema, WatchJobsResponse_ResyncSchema, WatchJobsResponseSchema, type WatchJobsResponse } from "../../src/gen/crater/job/v1/job_service_pb.js";
import { JobSchema, JobState, LogLineSchema, type Job, type JobEvent, JobEventSchema, type LogLine } from "../../src/gen/crater/job/v1/resources_pb.js";
import { GetClusterResponseSchema, SchedulingService } from "../../src/gen/crater/scheduling/v1/scheduling_service_pb.js";
import { BadRequestSchema } from "../../src/gen/google/rpc/error_details_pb.js";

const DIST = join(import.meta.dirname, "../../dist");
/** As the gateway sends it. */
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; " +
  "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const ended = (job: Job) => job.state >= JobState.SUCCEEDED;

export class Mesh {
  readonly jobs = new Map<string, Job>();
  readonly events = new Map<string, JobEvent[]>();
  readonly logs = new Map<string, LogLine[]>();
  readonly created: CreateJobRequest[] = [];
  readonly calls: { method: string; request: unknown }[] = [];
  readonly user = "alice";
  readonly password = "correct horse";
  accessSeconds = 600;
  /** Answers to CreateJob are lost on the way, as when a gateway dies. */
  loseNextAnswer = false;
  private readonly done = new Map<string, string>();
  private readonly history: { name: string; job: Job | null }[] = [];
  private readonly waiters = new Set<() => void>();
  private access = new Set<string>();
  private refresh = "";
  private cutAt = 0;
  private resyncs = 0;
  private server: Server | undefined;
  address = "";

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

  /** Ends every open stream, as a gateway that restarts does. */
  cut() {
    this.cutAt++;
    this.wake();
  }

  /** Spends every access token that was given. */
  expireAccess() {
    this.access.clear();
  }

  /** Ends the session for good. */
  revoke() {
    this.access.clear();
    this.refresh = "";
    this.cut();
  }

  /** Tells every open stream to begin anew. */
  resync() {
    this.resyncs++;
    this.wake();
  }

  put(job: Job) {
    job.etag = String(this.history.length + 1);
    this.jobs.set(job.name, job);
    this.history.push({ name: job.name, job: clone(JobSchema, job) });
    this.wake();
  }

  change(name: string, change: (job: Job) => void) {
    const job = this.jobs.get(name);
    if (!job) throw new Error(`there is no ${name}`);
    change(job);
    this.put(job);
  }

  remove(name: string) {
    this.jobs.delete(name);
    this.history.push({ name, job: null });
    this.wake();
  }

  happened(name: string, reason: string, message: string) {
    const list = this.events.get(name) ?? [];
    list.push(create(JobEventSchema, { sequence: BigInt(list.length + 1), time: timestampNow(), reason, message }));
    this.events.set(name, list);
  }

  write(name: string, text: string, replica = 0, time = timestampNow()) {
    const list = this.logs.get(name) ?? [];
    list.push(create(LogLineSchema, { role: "worker", replica, time, text }));
    this.logs.set(name, list);
    this.wake();
  }

  cluster = create(GetClusterResponseSchema, {});

  private wake() {
    for (const waiter of this.waiters) waiter();
  }

  private async until(stop: AbortSignal, cut: number, ready: () => boolean): Promise<boolean> {
    while (!stop.aborted && cut === this.cutAt && !ready()) {
      await new Promise<void>((resolve) => {
        const done = () => {
          this.waiters.delete(done);
          stop.removeEventListener("abort", done);
          resolve();
        };
        this.waiters.add(done);
        stop.addEventListener("abort", done);
      });
    }
    if (cut !== this.cutAt) throw new ConnectError("the gateway is going away", Code.Unavailable);
    return !stop.aborted;
  }

  private tokens() {
    const accessToken = crypto.randomUUID();
    this.access.add(accessToken);
    this.refresh = crypto.randomUUID();
    return create(TokenPairSchema, {
      accessToken,
      accessExpireTime: timestampFromMs(Date.now() + this.accessSeconds * 1000),
      refreshToken: this.refresh,
      refreshExpireTime: timestampFromMs(Date.now() + 86_400_000),
    });
  }

  private check(context: HandlerContext, request: unknown) {
    this.calls.push({ method: context.method.name, request });
    const token = context.requestHeader.get("authorization")?.replace(/^Bearer /, "") ?? "";
    if (!this.access.has(token)) throw new ConnectError("the access token is not valid", Code.Unauthenticated);
  }

  private find(name: string): Job {
    const job = this.jobs.get(name);
    if (!job) throw new ConnectError(`there is no job ${name}`, Code.NotFound);
    return job;
  }

  private person() {
    return { name: `users/${this.user}`, displayName: "Alice", state: UserState.ACTIVE };
  }

  private routes(router: ConnectRouter) {
    const mesh = this;
    router.service(AuthService, {
      login({ userId, password }) {
        if (userId !== mesh.user || password !== mesh.password) {
          throw new ConnectError("the user or the password is wrong", Code.Unauthenticated);
        }
        return { tokens: mesh.tokens(), user: mesh.person() };
      },
      refreshToken({ refreshToken }) {
        mesh.calls.push({ method: "RefreshToken", request: null });
        if (!mesh.refresh || refreshToken !== mesh.refresh) {
          mesh.refresh = "";
          mesh.expireAccess();
          throw new ConnectError("the refresh token was used before", Code.Unauthenticated);
        }
        return { tokens: mesh.tokens() };
      },
      logout(request, context) {
        mesh.check(context, request);
        mesh.expireAccess();
        mesh.refresh = "";
        return {};
      },
      whoAmI(request, context) {
        mesh.check(context, request);
        const member = (account: string, role: MemberRole) => ({ account, user: `users/${mesh.user}`, role });
        return {
          user: mesh.person(),
          memberships: [member("accounts/vision", MemberRole.MANAGER), member("accounts/speech", MemberRole.MEMBER)],
        };
      },
    });
    router.service(JobService, {
      createJob(request, context) {
        mesh.check(context, request);
        return { job: mesh.create(request) };
      },
      getJob({ name }, context) {
        mesh.check(context, name);
        return { job: mesh.find(name) };
      },
      async *watchJobs(request, context) {
        mesh.check(context, request);
        yield* mesh.watch(request.resumeToken, context.signal);
      },
      cancelJob({ name }, context) {
        mesh.check(context, name);
        mesh.find(name);
        mesh.change(name, (job) => (job.cancelling = true));
        return { job: mesh.find(name) };
      },
      deleteJob({ name }, context) {
        mesh.check(context, name);
        if (!ended(mesh.find(name))) throw new ConnectError("the job has not ended", Code.FailedPrecondition);
        mesh.remove(name);
        return {};
      },
      async *streamLogs(request, context) {
        mesh.check(context, request);
        const since = request.sinceTime ? nanos(request.sinceTime) : -1n;
        const all = () => (mesh.logs.get(request.name) ?? []).filter((line) => !line.time || nanos(line.time) > since);
        const cut = mesh.cutAt;
        let at = 0;
        for (;;) {
          const lines = all().slice(at);
          at += lines.length;
          if (lines.length > 0) yield { lines };
          const over = () => ended(mesh.find(request.name));
          if (over() && all().length === at) return;
          if (!(await mesh.until(context.signal, cut, () => all().length > at || over()))) return;
        }
      },
      listEvents({ parent }, context) {
        mesh.check(context, parent);
        return { events: mesh.events.get(parent) ?? [] };
      },
    });
    router.service(SchedulingService, {
      getCluster(request, context) {
        mesh.check(context, request);
        return mesh.cluster;
      },
      explainJob({ name }, context) {
        mesh.check(context, name);
        const job = mesh.find(name);
        if (job.state !== JobState.QUEUED) {
          const gpus = [{ indexes: [0, 1, 2, 3], millis: 1000 }];
          return { job: name, placements: job.nodes.map((node, at) => ({ node, role: "worker", firstReplica: at, count: 1, gpus })) };
        }
        const message = job.message;
        return { job: name, waiting: true, position: 2, message, blockers: [{ reason: job.reason, message }] };
      },
    });
  }

  private create(request: CreateJobRequest): Job {
    const role = request.job?.spec?.roles[0];
    const violations = [];
    if (request.jobId !== "" && !/^[a-z][a-z0-9-]{0,39}$/.test(request.jobId)) {
      violations.push({ field: "job_id", description: "must be lower-case letters, digits and hyphens" });
    }
    const gpus = role?.resources?.gpuMillis ?? 0n;
    if (gpus < 0n || gpus > 8000n) {
      violations.push({
        field: "job.spec.roles[0].resources.gpu_millis",
        description: `no node has ${Number(gpus) / 1000} GPUs; the largest has 8`,
      });
    }
    if (violations.length > 0) {
      throw new ConnectError("the job cannot be accepted", Code.InvalidArgument, undefined, [
        { desc: BadRequestSchema, value: { fieldViolations: violations } },
      ]);
    }
    const name = `${request.parent}/jobs/${request.jobId || `job-${this.created.length + 1}`}`;
    const draft = create(JobSchema, {
      ...(request.job?.spec ? { spec: request.job.spec } : {}),
      labels: request.job?.labels ?? {},
      name,
      uid: crypto.randomUUID(),
      creator: `users/${this.user}`,
      state: JobState.QUEUED,
      reason: "Submitted",
      message: "not yet looked at",
      createTime: timestampNow(),
      queueTime: timestampNow(),
    });
    if (request.validateOnly) return draft;
    const before = this.done.get(request.requestId);
    if (before === undefined) {
      if (this.jobs.has(name)) throw new ConnectError(`${name} exists`, Code.AlreadyExists);
      this.created.push(request);
      this.done.set(request.requestId, name);
      this.happened(name, "Submitted", `by ${this.user}`);
      this.put(draft);
    }
    if (this.loseNextAnswer) {
      this.loseNextAnswer = false;
      throw new ConnectError("the connection was lost", Code.Unavailable);
    }
    return this.find(before ?? name);
  }

  private async *watch(resumeToken: string, stop: AbortSignal): AsyncGenerator<WatchJobsResponse> {
    const say = (event: WatchJobsResponse["event"], at: number) =>
      create(WatchJobsResponseSchema, { event, resumeToken: at < 0 ? "" : String(at) });
    const cut = this.cutAt;
    let at = Number(resumeToken || -1);
    let resyncs = this.resyncs;
    for (;;) {
      if (at < 0) {
        at = this.history.length;
        for (const job of [...this.jobs.values()]) yield say({ case: "changed", value: job }, -1);
        yield say({ case: "bookmark", value: create(WatchJobsResponse_BookmarkSchema, {}) }, at);
      }
      if (!(await this.until(stop, cut, () => this.history.length > at || this.resyncs > resyncs))) return;
      if (this.resyncs > resyncs) {
        resyncs = this.resyncs;
        at = -1;
        yield say({ case: "resync", value: create(WatchJobsResponse_ResyncSchema, { reason: "too far behind" }) }, -1);
        continue;
      }
      const { name, job } = this.history[at++]!;
      yield say(job ? { case: "changed", value: job } : { case: "deleted", value: name }, at);
    }
  }
}

const nanos = (time: { seconds: bigint; nanos: number }) => time.seconds * 1_000_000_000n + BigInt(time.nanos);

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
