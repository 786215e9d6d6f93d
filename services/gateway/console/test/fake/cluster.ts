// The fake SchedulingService: nodes as a map with a stream, the queue, and what an admin does to a node.
import { clone, create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, type ConnectRouter } from "@connectrpc/connect";
import { JobState } from "../../src/gen/crater/job/v1/resources_pb.js";
import { type Node, NodeSchema, SchedulingService, WatchClusterResponse_CountsSchema, WatchClusterResponse_SnapshotStartSchema, WatchClusterResponseSchema, type WatchClusterResponse } from "../../src/gen/crater/scheduling/v1/scheduling_service_pb.js";
import { type Bell, type Check, invalid, missing } from "./core.js";
import type { Jobs } from "./jobs.js";

export class Cluster {
  /** A scheduler of before WatchCluster. */
  old = false;
  waitingJobs = 0;
  runningJobs = 0;
  /** What is found when asked. */
  remedies: { message: string }[] = [];
  /** What would come of a job that is thought of. */
  outcome: { starts: boolean; message: string; placements?: { node: string }[]; remedies?: { message: string }[] } = { starts: true, message: "It would start at once." };
  private readonly nodes = new Map<string, Node>();
  private readonly history: { name: string; node: Node | null }[] = [];

  constructor(private readonly bell: Bell, private readonly check: Check, private readonly jobs: Jobs) {}

  put(...nodes: Node[]) {
    for (const node of nodes) {
      this.nodes.set(node.name, node);
      this.history.push({ name: node.name, node });
    }
    this.bell.ring();
  }

  change(name: string, change: (node: Node) => void): Node {
    const before = this.nodes.get(name);
    if (!before) throw missing(`node ${name}`);
    const node = clone(NodeSchema, before);
    change(node);
    this.put(node);
    return node;
  }

  remove(name: string) {
    this.nodes.delete(name);
    this.history.push({ name, node: null });
    this.bell.ring();
  }

  routes(router: ConnectRouter, demandAdmin: (user: string) => void) {
    const { check } = this;
    router.service(SchedulingService, {
      getCluster: (request, context) => {
        check(context, request);
        return { nodes: [...this.nodes.values()], waitingJobs: this.waitingJobs, runningJobs: this.runningJobs };
      },
      watchCluster: (request, context) => {
        check(context, request);
        if (this.old) throw new ConnectError("it is not built yet", Code.Unimplemented);
        return this.watch(context.signal);
      },
      cordonNode: ({ node, reason, validateOnly }, context) => {
        demandAdmin(check(context, { node, reason }));
        if (reason.length > 256) throw invalid("the node cannot be cordoned", ["reason", "at most 256 characters"]);
        if (validateOnly) return { node: this.find(node) };
        return { node: this.change(node, (each) => Object.assign(each, { cordoned: true, schedulable: false, message: reason || "cordoned by an admin" })) };
      },
      uncordonNode: ({ node }, context) => {
        demandAdmin(check(context, { node }));
        return { node: this.change(node, (each) => Object.assign(each, { cordoned: false, draining: false, schedulable: true, message: "" })) };
      },
      drainNode: ({ node, reason, validateOnly }, context) => {
        demandAdmin(check(context, { node, reason, validateOnly }));
        const jobs = [...new Set(this.find(node).gpus.flatMap((gpu) => gpu.jobs))];
        if (validateOnly) return { node: this.find(node), jobs };
        const drained = this.change(node, (each) => Object.assign(each, { cordoned: true, draining: true, schedulable: false, message: reason || "drained by an admin" }));
        return { node: drained, jobs };
      },
      listQueue: ({ pageSize }, context) => {
        check(context, pageSize);
        const waiting = [...this.jobs.all.values()].filter((job) => job.state === JobState.QUEUED && !job.suspended);
        const entries = waiting.map((job, at) => {
          const gpus = job.spec?.roles.reduce((sum, role) => sum + (role.resources?.gpuMillis ?? 0n) * BigInt(role.replicas || 1), 0n) ?? 0n;
          const blocker = { reason: job.reason, message: job.message };
          return { job: job.name, position: at + 1, priority: job.spec?.priority ?? 0, requested: { gpuMillis: gpus }, ...(job.queueTime ? { queueTime: job.queueTime } : {}), blocker };
        });
        return { entries: entries.slice(0, pageSize || 100) };
      },
      simulate: (request, context) => {
        check(context, request);
        return { job: this.outcome };
      },
      explainJob: ({ name, withRemedies }, context) => {
        check(context, { name, withRemedies });
        const job = this.jobs.find(name);
        if (job.state !== JobState.QUEUED) {
          const gpus = [{ indexes: [0, 1, 2, 3], millis: 1000 }];
          return { job: name, placements: job.nodes.map((node, at) => ({ node, role: "worker", firstReplica: at, count: 1, gpus })) };
        }
        const message = job.message;
        return { job: name, waiting: true, position: 2, message, blockers: [{ reason: job.reason, message }], forecast: { p50Time: timestampFromMs(Date.now() + 605_000), p90Time: timestampFromMs(Date.now() + 7_205_000), sure: false }, remedies: withRemedies ? this.remedies : [] };
      },
    });
  }

  private find(name: string): Node {
    const node = this.nodes.get(name);
    if (!node) throw missing(`node ${name}`);
    return node;
  }

  private async *watch(stop: AbortSignal): AsyncGenerator<WatchClusterResponse> {
    const say = (event: WatchClusterResponse["event"]) => create(WatchClusterResponseSchema, { event });
    const counts = () => say({ case: "counts", value: create(WatchClusterResponse_CountsSchema, { waitingJobs: this.waitingJobs, runningJobs: this.runningJobs }) });
    const cut = this.bell.cutAt;
    let at = this.history.length;
    yield say({ case: "snapshotStart", value: create(WatchClusterResponse_SnapshotStartSchema, {}) });
    for (const node of [...this.nodes.values()]) yield say({ case: "node", value: node });
    yield counts();
    for (;;) {
      if (!(await this.bell.until(stop, cut, () => this.history.length > at))) return;
      while (at < this.history.length) {
        const { name, node } = this.history[at++]!;
        yield say(node ? { case: "node", value: node } : { case: "deleted", value: name });
      }
      yield counts();
    }
  }
}
