// What is typed into the submit form, made into a request; and which control a path of the request belongs to.
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { CreateJobRequestSchema } from "./gen/crater/job/v1/job_service_pb.js";
import { ServiceClass } from "./gen/crater/job/v1/resources_pb.js";

export const CONTROLS = [
  "account", "name", "command", "image", "replicas", "gpus", "model", "cpu", "memory", "devices", "class", "priority", "duration",
  "env",
] as const;
export type Control = (typeof CONTROLS)[number];
export type Draft = Record<Control, string>;

/** Why a text cannot be sent at all; the dictionaries say it in words. */
export type Flaw = "notANumber" | "tooFine" | "notWhole" | "none" | "notADuration" | "notEnv" | "notDevices" | "missing";

export const EMPTY: Draft = {
  account: "", name: "", command: "", image: "", replicas: "1", gpus: "1", model: "", cpu: "1", memory: "1", devices: "",
  class: "guaranteed", priority: "0", duration: "", env: "",
};

const GIB = 1024 ** 3;
const INT32 = 2 ** 31;

export function request(draft: Draft): { init: MessageInitShape<typeof CreateJobRequestSchema> } | { flaws: Map<Control, Flaw> } {
  const flaws = new Map<Control, Flaw>();
  const number = (control: Control, scale: number): number => {
    const text = draft[control].trim();
    const value = Number(text === "" ? 0 : text) * scale;
    if (!Number.isFinite(value) || Math.abs(value) > Number.MAX_SAFE_INTEGER) flaws.set(control, "notANumber");
    // Thousandths are the smallest unit; of bytes nobody types fractions.
    else if (scale === 1000 && Math.abs(value - Math.round(value)) > 1e-6) flaws.set(control, "tooFine");
    return Math.round(value);
  };
  const whole = (control: Control): number => {
    const value = Number(draft[control].trim() || 0);
    if (!Number.isInteger(value) || Math.abs(value) >= INT32) flaws.set(control, "notWhole");
    return value;
  };

  const seconds = durationSeconds(draft.duration);
  if (seconds === null) flaws.set("duration", "notADuration");
  const env = envOf(draft.env);
  if (env === null) flaws.set("env", "notEnv");
  const devices = devicesOf(draft.devices);
  if (devices === null) flaws.set("devices", "notDevices");
  for (const control of ["account", "command"] as const) {
    if (draft[control].trim() === "") flaws.set(control, "missing");
  }
  const replicas = whole("replicas");
  // On the wire 0 means "not said", which is not what somebody who types it means.
  if (draft.replicas.trim() !== "" && replicas === 0) flaws.set("replicas", "none");
  const priority = whole("priority");
  const cpuMillis = number("cpu", 1000);
  const memoryBytes = number("memory", GIB);
  const gpuMillis = number("gpus", 1000);
  if (flaws.size > 0) return { flaws };

  return {
    init: {
      parent: `accounts/${draft.account.trim()}`,
      jobId: draft.name.trim(),
      job: {
        spec: {
          serviceClass: draft.class === "best-effort" ? ServiceClass.BEST_EFFORT : ServiceClass.GUARANTEED,
          priority,
          ...(seconds ? { expectedDuration: { seconds: BigInt(seconds), nanos: 0 } } : {}),
          roles: [
            {
              name: "worker",
              replicas,
              resources: {
                cpuMillis: BigInt(cpuMillis),
                memoryBytes: BigInt(memoryBytes),
                gpuMillis: BigInt(gpuMillis),
                devices: devices ?? {},
              },
              gpuModels: draft.model ? [draft.model] : [],
              image: draft.image.trim(),
              command: ["/bin/sh", "-c", draft.command],
              env: env ?? [],
            },
          ],
        },
      },
    },
  };
}

export const message = (init: MessageInitShape<typeof CreateJobRequestSchema>) => create(CreateJobRequestSchema, init);

/** "90m", "1h 30m", "2d"; a bare number counts minutes. Null: not understood. */
export function durationSeconds(text: string): number | null {
  const trimmed = text.trim().toLowerCase();
  if (trimmed === "") return 0;
  if (/^\d+(\.\d+)?$/.test(trimmed)) return Math.round(Number(trimmed) * 60);
  if (!/^(\d+(\.\d+)?\s*[dhms]\s*)+$/.test(trimmed)) return null;
  const unit: Record<string, number> = { d: 86_400, h: 3_600, m: 60, s: 1 };
  let seconds = 0;
  for (const [, amount, letter] of trimmed.matchAll(/(\d+(?:\.\d+)?)\s*([dhms])/g)) {
    seconds += Number(amount) * (unit[letter ?? ""] ?? 0);
  }
  return Math.round(seconds);
}

/** One NAME=value a line; blank lines and lines that begin with # are left out. Null: a line has no "=". */
export function envOf(text: string): { name: string; value: string }[] | null {
  const out = [];
  for (const line of text.split("\n")) {
    const bare = line.replace(/\r$/, "");
    if (bare.trim() === "" || bare.trimStart().startsWith("#")) continue;
    const at = bare.indexOf("=");
    if (at < 1) return null;
    out.push({ name: bare.slice(0, at).trim(), value: bare.slice(at + 1) });
  }
  return out;
}

/** "rdma/hca=1 nvidia.com/mig-1g.5gb=2", apart by blanks, commas or lines. Null: not understood. */
export function devicesOf(text: string): Record<string, bigint> | null {
  const out: Record<string, bigint> = {};
  for (const pair of text.split(/[\s,]+/).filter(Boolean)) {
    const [, name, count] = /^([^=]+)=(\d{1,9})$/.exec(pair) ?? [];
    if (!name || !count || Number(count) === 0 || name in out) return null;
    out[name] = BigInt(count);
  }
  return out;
}

const PATHS: [RegExp, Control][] = [
  [/^parent$/, "account"],
  [/^job_id$/, "name"],
  [/\.roles\[\d+\]\.(command|args|working_dir)\b/, "command"],
  [/\.roles\[\d+\]\.image\b/, "image"],
  [/\.roles\[\d+\]\.(replicas|min_replicas)\b/, "replicas"],
  [/\.roles\[\d+\]\.resources\.gpu_millis\b/, "gpus"],
  [/\.roles\[\d+\]\.gpu_models\b/, "model"],
  [/\.roles\[\d+\]\.resources\.cpu_millis\b/, "cpu"],
  [/\.roles\[\d+\]\.resources\.memory_bytes\b/, "memory"],
  [/\.roles\[\d+\]\.resources\.devices\b/, "devices"],
  [/\.roles\[\d+\]\.env\b/, "env"],
  [/\.service_class\b/, "class"],
  [/\.priority\b/, "priority"],
  [/\.expected_duration\b/, "duration"],
];

/** The control that a path of the request was typed into; undefined for what the form has no control for. */
export const controlOf = (path: string): Control | undefined => PATHS.find(([form]) => form.test(path))?.[1];
