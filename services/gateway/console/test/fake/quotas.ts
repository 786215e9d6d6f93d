// The fake QuotaService: limits that are kept, and a use that a test sets.
import { create } from "@bufbuild/protobuf";
import { timestampNow } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, type ConnectRouter } from "@connectrpc/connect";
import { type Quota, QuotaSchema, QuotaService } from "../../src/gen/crater/quota/v1/quota_service_pb.js";
import { type Check, demandFresh, invalid, page } from "./core.js";
import type { People } from "./people.js";

export class Quotas {
  readonly all = new Map<string, Quota>();
  private changes = 0;

  constructor(private readonly check: Check, private readonly people: People) {}

  /** [resource, guaranteed, limit, used by guaranteed jobs, used by best effort]; undefined where nothing is said. */
  set(name: string, rows: [string, number | undefined, number | undefined, number?, number?][], weight = 1) {
    this.all.set(
      name,
      create(QuotaSchema, {
        name,
        weight: name.includes("/users/") ? 0 : weight,
        usageKnown: true,
        etag: String(++this.changes),
        updateTime: timestampNow(),
        resources: rows
          .filter(([, guaranteed, limit]) => guaranteed !== undefined || limit !== undefined)
          .map(([resource, guaranteed, limit]) => ({
            resource,
            ...(guaranteed === undefined ? {} : { guaranteed: BigInt(guaranteed) }),
            ...(limit === undefined ? {} : { limit: BigInt(limit) }),
          })),
        usage: rows
          .filter(([, , , used, best]) => used !== undefined || best !== undefined)
          .map(([resource, , , used, best]) => ({ resource, guaranteed: BigInt(used ?? 0), bestEffort: BigInt(best ?? 0) })),
      }),
    );
  }

  routes(router: ConnectRouter) {
    const { check } = this;
    router.service(QuotaService, {
      getQuota: ({ name }, context) => (check(context, name), { quota: this.find(name) }),
      listQuotas: (request, context) => {
        const caller = check(context, request);
        const admin = this.people.users.get(caller)?.platformAdmin ?? false;
        const accounts = [...this.people.accounts.keys()].filter((account) =>
          request.parent === "accounts/-" ? admin || this.people.of(caller).some((each) => each.account === account) : account === request.parent,
        );
        const quotas = accounts.sort().flatMap((account) => [
          this.find(`${account}/quota`),
          ...[...this.all.values()].filter(({ name }) => name.startsWith(`${account}/users/`)),
        ]);
        const { items, nextPageToken } = page(quotas, request.pageSize, request.pageToken);
        return { quotas: items, nextPageToken };
      },
      updateQuota: (request, context) => {
        const caller = check(context, request);
        const asked = request.quota;
        const name = asked?.name ?? "";
        const account = name.split("/").slice(0, 2).join("/");
        if (name.includes("/users/")) this.people.demandManager(caller, account);
        else this.people.demandAdmin(caller);
        const before = this.find(name);
        demandFresh(asked?.etag ?? "", before.etag, name);
        const wrong: [string, string][] = [];
        asked?.resources.forEach(({ guaranteed, limit }, at) => {
          if (limit !== undefined && limit < 0n) wrong.push([`quota.resources[${at}].limit`, "must not be negative"]);
          if (guaranteed !== undefined && limit !== undefined && guaranteed > limit) {
            wrong.push([`quota.resources[${at}].guaranteed`, "must not be more than the limit"]);
          }
        });
        if (wrong.length > 0) throw invalid("the limits cannot be set", ...wrong);
        const paths = request.updateMask?.paths ?? [];
        if (paths.some((path) => path !== "resources" && path !== "weight")) throw new ConnectError("only resources and weight", Code.InvalidArgument);
        const quota = create(QuotaSchema, { ...before, etag: String(++this.changes) });
        if (paths.includes("resources")) quota.resources = asked?.resources ?? [];
        if (paths.includes("weight")) quota.weight = asked?.weight ?? 1;
        this.all.set(name, quota);
        return { quota };
      },
    });
  }

  private find(name: string): Quota {
    return this.all.get(name) ?? create(QuotaSchema, { name, usageKnown: true, weight: name.includes("/users/") ? 0 : 1 });
  }
}
