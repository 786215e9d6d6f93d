// The fake JobService: jobs, their events, logs and usage. It lists, filters and streams as the contract says.
import { clone, create } from "@bufbuild/protobuf";
import { timestampNow } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, type ConnectRouter } from "@connectrpc/connect";
import { type CreateJobRequest, type JobFilter, JobService, WatchJobsResponse_BookmarkSchema, WatchJobsResponse_ResyncSchema, type StreamLogsRequest, type StreamLogsResponse, StreamLogsResponseSchema, WatchJobsResponseSchema, type WatchJobsRequest, type WatchJobsResponse } from "../../src/gen/crater/job/v1/job_service_pb.js";
import { type Job, type JobEvent, JobEventSchema, JobSchema, JobState, LogLineSchema, type LogLine, type UsageSpan } from "../../src/gen/crater/job/v1/resources_pb.js";
import { type Bell, type Check, demandFresh, invalid, missing, nanos, Once, page } from "./core.js";

const ended = (job: Job) => job.state >= JobState.SUCCEEDED;

export class Jobs {
  readonly all = new Map<string, Job>();
  readonly events = new Map<string, JobEvent[]>();
  readonly logs = new Map<string, (LogLine & { attempt?: number })[]>();
  /** What is missing before a job's first line. */
  readonly gaps = new Map<string, string>();
  readonly usage = new Map<string, UsageSpan[]>();
  readonly created: CreateJobRequest[] = [];
  /** Answers to CreateJob are lost on the way, as when a gateway dies. */
  loseNextAnswer = false;
  private readonly once = new Once();
  private readonly history: { name: string; before: Job | null; job: Job | null }[] = [];
  private resyncs = 0;

  constructor(private readonly bell: Bell, private readonly check: Check) {}

  put(job: Job) {
    job.etag = String(this.history.length + 1);
    if (ended(job)) job.endTime ??= timestampNow();
    const before = this.history.findLast((each) => each.name === job.name)?.job ?? null;
    this.all.set(job.name, job);
    this.history.push({ name: job.name, before, job: clone(JobSchema, job) });
    this.bell.ring();
  }

  change(name: string, change: (job: Job) => void): Job {
    const job = this.find(name);
    change(job);
    this.put(job);
    return job;
  }

  remove(name: string) {
    const before = this.all.get(name) ?? null;
    this.all.delete(name);
    this.history.push({ name, before, job: null });
    this.bell.ring();
  }

  happened(name: string, reason: string, message: string) {
    const list = this.events.get(name) ?? [];
    list.push(create(JobEventSchema, { sequence: BigInt(list.length + 1), time: timestampNow(), reason, message }));
    this.events.set(name, list);
  }

  write(name: string, text: string, replica = 0, time = timestampNow(), attempt?: number) {
    const list = this.logs.get(name) ?? [];
    const line = create(LogLineSchema, { role: "worker", replica, time, text });
    list.push(attempt === undefined ? line : Object.assign(line, { attempt }));
    this.logs.set(name, list);
    this.bell.ring();
  }

  /** Tells every open stream to begin anew. */
  resync() {
    this.resyncs++;
    this.bell.ring();
  }

  find(name: string): Job {
    const job = this.all.get(name);
    if (!job) throw missing(`job ${name}`);
    return job;
  }

  routes(router: ConnectRouter) {
    const { check } = this;
    const one = (name: string) => this.find(name);
    router.service(JobService, {
      createJob: (request, context) => ({ job: this.create(request, check(context, request)) }),
      getJob: ({ name }, context) => (check(context, name), { job: one(name) }),
      listJobs: (request, context) => {
        check(context, request);
        demandSense(request.filter);
        const [key, way] = (request.orderBy || "create_time desc").split(" ");
        const of = (job: Job) =>
          key === "priority" ? BigInt(job.spec?.priority ?? 0) : nanos((key === "end_time" ? job.endTime : job.createTime) ?? { seconds: 0n, nanos: 0 });
        const sign = way === "desc" ? -1 : 1;
        const order = (a: Job, b: Job) => {
          if (key === "end_time" && ended(a) !== ended(b)) return (ended(a) ? 1 : -1) * (way === "desc" ? -1 : 1);
          const [left, right] = [of(a), of(b)];
          return left === right ? (a.name < b.name ? -1 : 1) : left < right ? -sign : sign;
        };
        const jobs = [...this.all.values()].filter((job) => under(job, request.parent) && fits(job, request.filter)).sort(order);
        const { items, nextPageToken } = page(jobs, request.pageSize, request.pageToken);
        return { jobs: items, nextPageToken };
      },
      watchJobs: (request, context) => {
        check(context, request);
        demandSense(request.filter);
        if (request.job && !request.resumeToken) one(request.job);
        return this.watch(request, context.signal);
      },
      updateJob: (request, context) => {
        check(context, request);
        const asked = request.job;
        const job = one(asked?.name ?? "");
        const paths = request.updateMask?.paths ?? [];
        const priority = asked?.spec?.priority ?? 0;
        if (job.state !== JobState.QUEUED) throw new ConnectError("the job does not wait any more", Code.FailedPrecondition);
        demandFresh(asked?.etag ?? "", job.etag, job.name);
        if (paths.includes("spec.priority") && Math.abs(priority) > 1000) {
          throw invalid("the change cannot be made", ["job.spec.priority", "must be from -1000 to 1000"]);
        }
        return this.once.act(request.requestId, () => ({
          job: this.change(job.name, (each) => {
            if (!each.spec || !asked?.spec) return;
            if (paths.includes("spec.priority")) each.spec.priority = priority;
            if (paths.includes("spec.service_class")) each.spec.serviceClass = asked.spec.serviceClass;
            if (paths.includes("labels")) each.labels = asked.labels;
          }),
        }));
      },
      suspendJob: ({ name, requestId }, context) => {
        check(context, name);
        return this.once.act(requestId, () => ({ job: this.change(name, (job) => Object.assign(job, { suspended: true, state: JobState.QUEUED, reason: "Suspended", message: "stands aside until it is resumed" })) }));
      },
      resumeJob: ({ name, requestId }, context) => {
        check(context, name);
        return this.once.act(requestId, () => ({ job: this.change(name, (job) => Object.assign(job, { suspended: false, reason: "Queued", message: "waits for its GPUs" })) }));
      },
      cancelJob: ({ name, requestId }, context) => {
        check(context, name);
        return this.once.act(requestId, () => ({ job: this.change(name, (job) => (job.cancelling = true)) }));
      },
      deleteJob: ({ name }, context) => {
        check(context, name);
        if (!ended(one(name))) throw new ConnectError("the job has not ended", Code.FailedPrecondition);
        this.remove(name);
        return {};
      },
      streamLogs: (request, context) => (check(context, request), this.follow(request, context.signal)),
      listJobUsage: (request, context) => {
        check(context, request);
        one(request.parent);
        const { items, nextPageToken } = page(this.usage.get(request.parent) ?? [], request.pageSize, request.pageToken);
        return { spans: items, nextPageToken };
      },
      listEvents: ({ parent }, context) => (check(context, parent), { events: this.events.get(parent) ?? [] }),
    });
  }

  private async *follow(request: StreamLogsRequest, stop: AbortSignal): AsyncGenerator<StreamLogsResponse> {
    const job = () => this.find(request.name);
    const last = Math.max(1, job().attempts);
    const attempt = request.attempt || last;
    const since = request.sinceTime ? nanos(request.sinceTime) : -1n;
    const all = () =>
      (this.logs.get(request.name) ?? []).filter(
        (line) =>
          (line.attempt ?? last) === attempt &&
          (!request.role || line.role === request.role) &&
          (request.replica === undefined || line.replica === request.replica) &&
          (!line.time || nanos(line.time) > since),
      );
    const cut = this.bell.cutAt;
    let gap = since < 0n ? (this.gaps.get(request.name) ?? "") : "";
    let at = 0;
    for (;;) {
      const lines = all().slice(at);
      at += lines.length;
      if (lines.length > 0) yield create(StreamLogsResponseSchema, { lines, gap });
      gap = "";
      const over = () => ended(job()) || attempt < last;
      if (over() && all().length === at) return;
      if (!(await this.bell.until(stop, cut, () => all().length > at || over()))) return;
    }
  }

  private create(request: CreateJobRequest, creator: string): Job {
    const role = request.job?.spec?.roles[0];
    const wrong: [string, string][] = [];
    if (request.jobId !== "" && !/^[a-z][a-z0-9-]{0,39}$/.test(request.jobId)) {
      wrong.push(["job_id", "must be lower-case letters, digits and hyphens"]);
    }
    const gpus = role?.resources?.gpuMillis ?? 0n;
    if (gpus < 0n || gpus > 8000n) {
      wrong.push(["job.spec.roles[0].resources.gpu_millis", `no node has ${Number(gpus) / 1000} GPUs; the largest has 8`]);
    }
    if (wrong.length > 0) throw invalid("the job cannot be accepted", ...wrong);
    const name = `${request.parent}/jobs/${request.jobId || `job-${this.created.length + 1}`}`;
    const draft = create(JobSchema, {
      ...(request.job?.spec ? { spec: request.job.spec } : {}),
      labels: request.job?.labels ?? {},
      name,
      uid: crypto.randomUUID(),
      creator,
      state: JobState.QUEUED,
      reason: "Submitted",
      message: "not yet looked at",
      createTime: timestampNow(),
      queueTime: timestampNow(),
    });
    if (request.validateOnly) return draft;
    const job = this.once.act(request.requestId, () => {
      if (this.all.has(name)) throw new ConnectError(`${name} exists`, Code.AlreadyExists);
      this.created.push(request);
      this.happened(name, "Submitted", `by ${creator.slice("users/".length)}`);
      this.put(draft);
      return draft;
    });
    if (this.loseNextAnswer) {
      this.loseNextAnswer = false;
      throw new ConnectError("the connection was lost", Code.Unavailable);
    }
    return job;
  }

  private async *watch({ resumeToken, parent, job: only, filter }: WatchJobsRequest, stop: AbortSignal): AsyncGenerator<WatchJobsResponse> {
    const say = (event: WatchJobsResponse["event"], at: number) =>
      create(WatchJobsResponseSchema, { event, resumeToken: at < 0 ? "" : String(at) });
    const wanted = (job: Job | null) => job !== null && under(job, parent) && (!only || job.name === only) && fits(job, filter);
    const cut = this.bell.cutAt;
    let at = Number(resumeToken || -1);
    let resyncs = this.resyncs;
    // A stream that is taken up is heard of at once, as the gateway's headers are.
    if (at >= 0) yield say({ case: "bookmark", value: create(WatchJobsResponse_BookmarkSchema, {}) }, at);
    for (;;) {
      if (at < 0) {
        at = this.history.length;
        for (const job of [...this.all.values()]) if (wanted(job)) yield say({ case: "changed", value: job }, -1);
        yield say({ case: "bookmark", value: create(WatchJobsResponse_BookmarkSchema, {}) }, at);
      }
      if (!(await this.bell.until(stop, cut, () => this.history.length > at || this.resyncs > resyncs))) return;
      if (this.resyncs > resyncs) {
        resyncs = this.resyncs;
        at = -1;
        yield say({ case: "resync", value: create(WatchJobsResponse_ResyncSchema, { reason: "too far behind" }) }, -1);
        continue;
      }
      const { name, before, job } = this.history[at++]!;
      if (job && wanted(job)) yield say({ case: "changed", value: job }, at);
      else if (wanted(before)) yield say({ case: "deleted", value: name }, at);
    }
  }
}

const under = (job: Job, parent: string) => parent === "accounts/-" || job.name.startsWith(`${parent}/`);

/** What the job service refuses of a filter. */
function demandSense(filter: JobFilter | undefined) {
  const at = filter?.creators.findIndex((name) => !/^users\/[a-z][a-z0-9-]*$/.test(name)) ?? -1;
  if (at >= 0) throw invalid("the filter is not valid", [`filter.creators[${at}]`, "must be users/ and an id"]);
  if (/[^a-z0-9-]/.test(filter?.idContains ?? "")) throw invalid("the filter is not valid", ["filter.id_contains", "must be letters, digits and hyphens of an id"]);
}

/** The filter as the job service applies it. */
export function fits(job: Job, filter: JobFilter | undefined): boolean {
  if (!filter) return true;
  const [created, over] = [job.createTime && nanos(job.createTime), job.endTime && nanos(job.endTime)];
  const since = (moment: bigint | undefined, bound: JobFilter["createdAfter"]) => !bound || (moment !== undefined && moment >= nanos(bound));
  const until = (moment: bigint | undefined, bound: JobFilter["createdAfter"]) => !bound || (moment !== undefined && moment < nanos(bound));
  return (
    (filter.states.length === 0 || filter.states.includes(job.state)) &&
    (filter.creators.length === 0 || filter.creators.includes(job.creator)) &&
    (filter.serviceClasses.length === 0 || filter.serviceClasses.includes(job.spec?.serviceClass ?? 0)) &&
    Object.entries(filter.labels).every(([key, value]) => key in job.labels && (!value || job.labels[key] === value)) &&
    since(created, filter.createdAfter) &&
    until(created, filter.createdBefore) &&
    since(over, filter.endedAfter) &&
    until(over, filter.endedBefore) &&
    (filter.suspended === undefined || filter.suspended === job.suspended) &&
    job.name.slice(job.name.lastIndexOf("/") + 1).includes(filter.idContains)
  );
}
