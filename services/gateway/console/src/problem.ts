// A refusal as the page shows it: one text, and a text per field of the request.
import { Code, ConnectError } from "@connectrpc/connect";
import { durationMs } from "@bufbuild/protobuf/wkt";
import { BadRequestSchema, QuotaFailureSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.js";

export interface Problem {
  code: Code;
  /** The server's words. */
  text: string;
  /** Path in the request → what is wrong there. */
  fields: Map<string, string>;
  /** Limits that are in the way. */
  limits: string[];
  /** When another try is worth it, in seconds. */
  retrySeconds?: number;
}

export function problem(cause: unknown): Problem {
  const error = ConnectError.from(cause);
  const fields = new Map<string, string>();
  for (const detail of error.findDetails(BadRequestSchema)) {
    for (const { field, description } of detail.fieldViolations) {
      const before = fields.get(field);
      fields.set(field, before ? `${before}; ${description}` : description);
    }
  }
  const limits = error
    .findDetails(QuotaFailureSchema)
    .flatMap((detail) => detail.violations.map((v) => (v.subject ? `${v.subject}: ${v.description}` : v.description)));
  const delay = error.findDetails(RetryInfoSchema)[0]?.retryDelay;
  return {
    code: error.code,
    text: error.rawMessage,
    fields,
    limits,
    ...(delay ? { retrySeconds: Math.ceil(durationMs(delay) / 1000) } : {}),
  };
}

/** Whether the call may not have arrived, so that sending the same request again is right. */
export const unclear = (code: Code) =>
  [Code.Unavailable, Code.DeadlineExceeded, Code.Unknown, Code.Aborted, Code.Canceled].includes(code);
