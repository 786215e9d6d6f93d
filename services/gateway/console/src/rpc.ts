// The way to the gateway: gRPC-Web, binary. Calls that need a session are in session.ts.
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import type { Interceptor } from "@connectrpc/connect";

/** The page's own origin; under `npm run dev` the gateway that VITE_CRATER_SERVER names. */
export const server: string = import.meta.env.DEV
  ? (import.meta.env.VITE_CRATER_SERVER ?? "http://127.0.0.1:8080")
  : location.origin;

/** How long one answer may take. Streams have no such end. */
const UNARY_TIMEOUT_MS = 20_000;

export function transport(kind: "unary" | "stream", interceptors: Interceptor[] = []) {
  return createGrpcWebTransport({
    baseUrl: server,
    useBinaryFormat: true,
    interceptors,
    ...(kind === "unary" ? { defaultTimeoutMs: UNARY_TIMEOUT_MS } : {}),
  });
}

/** A UUID also where the page came over plain HTTP and `crypto.randomUUID` is missing. */
export function uuid(): string {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
