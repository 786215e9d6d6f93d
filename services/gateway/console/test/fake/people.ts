// The fake UserService: users, the tree of accounts, and members.
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, type ConnectRouter } from "@connectrpc/connect";
import { type Account, AccountSchema, MemberRole, type Membership, MembershipSchema, type User, UserSchema, UserState } from "../../src/gen/crater/user/v1/resources_pb.js";
import { UserService } from "../../src/gen/crater/user/v1/user_service_pb.js";
import { type Check, demandFresh, invalid, missing, Once, page } from "./core.js";

const ID = /^[a-z][a-z0-9-]{0,39}$/;
const LONG_AGO = Date.UTC(2026, 0, 12, 9, 30);

export class People {
  readonly users = new Map<string, User>();
  readonly accounts = new Map<string, Account>();
  readonly passwords = new Map<string, string>();
  members: Membership[] = [];
  private readonly once = new Once();
  private changes = 0;

  constructor(private readonly check: Check) {}

  user(id: string, displayName: string, password = "correct horse", admin = false): User {
    const name = `users/${id}`;
    const user = create(UserSchema, { name, displayName, state: UserState.ACTIVE, platformAdmin: admin, createTime: timestampFromMs(LONG_AGO), etag: this.etag() });
    this.users.set(name, user);
    this.passwords.set(name, password);
    return user;
  }

  account(id: string, displayName: string, parent = "") {
    const name = `accounts/${id}`;
    this.accounts.set(name, create(AccountSchema, { name, displayName, parent, namespace: `crater-${id}`, createTime: timestampFromMs(LONG_AGO), etag: this.etag() }));
  }

  join(user: string, account: string, role = MemberRole.MEMBER): Membership {
    const membership = create(MembershipSchema, { user: `users/${user}`, account: `accounts/${account}`, role });
    this.members = [...this.members.filter((each) => each.user !== membership.user || each.account !== membership.account), membership];
    return membership;
  }

  of = (user: string) => this.members.filter((each) => each.user === user);

  readonly demandAdmin = (user: string) => {
    if (!this.users.get(user)?.platformAdmin) throw new ConnectError("this is for platform admins", Code.PermissionDenied);
  };

  demandManager(user: string, account: string) {
    if (this.of(user).some((each) => each.account === account && each.role === MemberRole.MANAGER)) return;
    this.demandAdmin(user);
  }

  routes(router: ConnectRouter) {
    const { check, demandAdmin } = this;
    const admin = (context: Parameters<Check>[0], request: unknown) => demandAdmin(check(context, request));
    router.service(UserService, {
      createUser: (request, context) => {
        admin(context, { ...request, password: "…" });
        const wrong: [string, string][] = [];
        if (!ID.test(request.userId)) wrong.push(["user_id", "must be lower-case letters, digits and hyphens, starting with a letter"]);
        if (request.password.length < 8) wrong.push(["password", "must have at least 8 characters"]);
        if (wrong.length > 0) throw invalid("the user cannot be created", ...wrong);
        return this.once.act(request.requestId, () => {
          if (this.users.has(`users/${request.userId}`)) throw new ConnectError(`user ${request.userId} exists`, Code.AlreadyExists);
          for (const account of request.accounts) this.join(request.userId, account.slice("accounts/".length));
          return { user: this.user(request.userId, request.user?.displayName ?? "", request.password, request.user?.platformAdmin) };
        });
      },
      updateUser: (request, context) => {
        admin(context, request);
        const user = this.findUser(request.user?.name ?? "");
        demandFresh(request.user?.etag ?? "", user.etag, user.name);
        const paths = request.updateMask?.paths ?? [];
        if (paths.includes("display_name")) user.displayName = request.user?.displayName ?? "";
        if (paths.includes("platform_admin")) user.platformAdmin = request.user?.platformAdmin ?? false;
        user.etag = this.etag();
        return { user };
      },
      getUser: ({ name }, context) => (check(context, name), { user: this.findUser(name), memberships: this.of(name) }),
      listUsers: (request, context) => {
        admin(context, request);
        const query = request.query.toLowerCase();
        const users = [...this.users.values()]
          .filter((user) => (!request.state || user.state === request.state) && `${user.name.slice(6)}\n${user.displayName}`.toLowerCase().includes(query))
          .sort((a, b) => (a.name < b.name ? -1 : 1));
        const { items, nextPageToken } = page(users, request.pageSize, request.pageToken);
        return { users: items, nextPageToken };
      },
      suspendUser: ({ name, etag }, context) => (admin(context, name), { user: this.be(name, etag, UserState.SUSPENDED) }),
      reinstateUser: ({ name, etag }, context) => (admin(context, name), { user: this.be(name, etag, UserState.ACTIVE) }),
      resetPassword: ({ name, newPassword }, context) => {
        admin(context, name);
        if (newPassword.length < 8) throw invalid("the password cannot be set", ["new_password", "must have at least 8 characters"]);
        this.passwords.set(this.findUser(name).name, newPassword);
        return {};
      },
      deleteUser: ({ name }, context) => {
        admin(context, name);
        this.users.delete(this.findUser(name).name);
        this.members = this.members.filter((each) => each.user !== name);
        return {};
      },
      createAccount: (request, context) => {
        admin(context, request);
        if (!ID.test(request.accountId)) throw invalid("the account cannot be created", ["account_id", "must be lower-case letters, digits and hyphens, starting with a letter"]);
        return this.once.act(request.requestId, () => {
          if (this.accounts.has(`accounts/${request.accountId}`)) throw new ConnectError(`account ${request.accountId} exists`, Code.AlreadyExists);
          this.account(request.accountId, request.account?.displayName ?? "", request.account?.parent);
          return { account: this.findAccount(`accounts/${request.accountId}`) };
        });
      },
      getAccount: ({ name }, context) => (check(context, name), { account: this.findAccount(name) }),
      listAccounts: (request, context) => {
        const caller = check(context, request);
        const all = [...this.accounts.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
        const seen = this.users.get(caller)?.platformAdmin ? all : all.filter((each) => this.of(caller).some(({ account }) => account === each.name));
        const { items, nextPageToken } = page(seen, request.pageSize, request.pageToken);
        return { accounts: items, nextPageToken };
      },
      updateAccount: (request, context) => {
        admin(context, request);
        const account = this.findAccount(request.account?.name ?? "");
        demandFresh(request.account?.etag ?? "", account.etag, account.name);
        const paths = request.updateMask?.paths ?? [];
        if (paths.includes("display_name")) account.displayName = request.account?.displayName ?? "";
        if (paths.includes("parent")) account.parent = request.account?.parent ?? "";
        account.etag = this.etag();
        return { account };
      },
      deleteAccount: ({ name, force }, context) => {
        admin(context, { name, force });
        if (!force && this.members.some((each) => each.account === name)) throw new ConnectError("the account has members", Code.FailedPrecondition);
        this.accounts.delete(this.findAccount(name).name);
        this.members = this.members.filter((each) => each.account !== name);
        return {};
      },
      listMembers: ({ parent }, context) => {
        check(context, parent);
        this.findAccount(parent);
        const members = this.members
          .filter((each) => each.account === parent)
          .map((membership) => {
            const user = this.users.get(membership.user);
            return { membership, displayName: user?.displayName ?? "", state: user?.state ?? UserState.ACTIVE };
          });
        return { members: members.sort((a, b) => (a.membership.user < b.membership.user ? -1 : 1)) };
      },
      addMember: ({ membership }, context) => {
        const account = membership?.account ?? "";
        this.demandManager(check(context, membership), account);
        if (!this.users.has(membership?.user ?? "")) throw invalid("the member cannot be added", ["membership.user", `there is no ${membership?.user}`]);
        return { membership: this.join((membership?.user ?? "").slice("users/".length), account.slice("accounts/".length), membership?.role) };
      },
      removeMember: ({ account, user }, context) => {
        this.demandManager(check(context, { account, user }), account);
        this.members = this.members.filter((each) => each.user !== user || each.account !== account);
        return {};
      },
    });
  }

  private etag = () => String(++this.changes);

  private be(name: string, etag: string, state: UserState): User {
    const user = this.findUser(name);
    demandFresh(etag, user.etag, name);
    return Object.assign(user, { state, etag: this.etag() });
  }

  private findUser(name: string): User {
    const user = this.users.get(name);
    if (!user) throw missing(name);
    return user;
  }

  private findAccount(name: string): Account {
    const account = this.accounts.get(name);
    if (!account) throw missing(name);
    return account;
  }
}
