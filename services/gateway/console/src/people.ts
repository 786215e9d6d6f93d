// Accounts, quotas and members, as the views ask for them.
import { pages, useAsked } from "./ask.js";
import { people, quotas } from "./session.js";

const PAGE = 1_000;
/** Usage changes with every job; who is in which account, seldom. */
const USAGE_MS = 5_000;
const PEOPLE_MS = 30_000;

/** The accounts that the reader is in, or all to an admin. */
export const useAccounts = () =>
  useAsked(
    (signal) =>
      pages(async (pageToken) => {
        const { accounts, nextPageToken } = await people.listAccounts({ pageSize: PAGE, pageToken }, { signal });
        return { items: accounts, nextPageToken };
      }),
    PEOPLE_MS,
    ["accounts"],
  );

/** Quotas below "accounts/{account}" or "accounts/-", with what is used. */
export const useQuotas = (parent: string) =>
  useAsked(
    (signal) =>
      pages(async (pageToken) => {
        const answer = await quotas.listQuotas({ parent, pageSize: PAGE, pageToken }, { signal });
        return { items: answer.quotas, nextPageToken: answer.nextPageToken };
      }),
    USAGE_MS,
    ["quotas", parent],
  );

export const useMembers = (parent: string) =>
  useAsked(
    (signal) =>
      pages(async (pageToken) => {
        const { members, nextPageToken } = await people.listMembers({ parent, pageSize: PAGE, pageToken }, { signal });
        return { items: members, nextPageToken };
      }),
    PEOPLE_MS,
    ["members", parent],
  );
