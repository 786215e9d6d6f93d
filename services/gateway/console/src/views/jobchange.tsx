// A job that waits can still be given another priority, class, length and labels.
import { durationSeconds } from "../draft.js";
import { ServiceClass, type Job } from "../gen/crater/job/v1/resources_pb.js";
import { t } from "../i18n/index.js";
import { labelsOf } from "../jobfilter.js";
import { idOf } from "../route.js";
import { jobs } from "../session.js";
import { Answers, Dialog } from "./dialog.js";
import { byLastWord, useForm } from "./form.js";
import { Trouble } from "./parts.js";

const PATHS = byLastWord("priority", "service_class", "expected_duration", "labels");

export function ChangeJob({ job, close }: { job: Job; close: () => void }) {
  const words = t.value.job;
  const spec = job.spec;
  const seconds = Number(spec?.expectedDuration?.seconds ?? 0n);
  const start = {
    priority: String(spec?.priority ?? 0),
    service_class: spec?.serviceClass === ServiceClass.BEST_EFFORT ? "best-effort" : "guaranteed",
    expected_duration: seconds ? (seconds % 60 ? `${seconds}s` : `${seconds / 60}m`) : "",
    labels: Object.entries(job.labels).map(([key, value]) => `${key}=${value}`).join(" "),
  };
  const form = useForm(start, PATHS);
  const send = async (event: SubmitEvent) => {
    event.preventDefault();
    const { values } = form;
    const priority = Number(values.priority.trim() || "0");
    const duration = durationSeconds(values.expected_duration);
    const flaws = new Map<keyof typeof start, string>();
    if (!Number.isInteger(priority) || Math.abs(priority) >= 2 ** 31) flaws.set("priority", t.value.flaw.notWhole);
    if (duration === null) flaws.set("expected_duration", t.value.flaw.notADuration);
    if (!form.point(flaws)) return;
    const keys = (Object.keys(start) as (keyof typeof start)[]).filter((key) => values[key].trim() !== start[key]);
    if (keys.length === 0) return close();
    const paths = keys.map((key) => (key === "labels" ? key : `spec.${key}`));
    const done = await form.send((requestId) =>
      jobs.updateJob({
        job: {
          name: job.name,
          etag: job.etag,
          labels: labelsOf(values.labels),
          spec: {
            priority,
            serviceClass: values.service_class === "best-effort" ? ServiceClass.BEST_EFFORT : ServiceClass.GUARANTEED,
            ...(duration ? { expectedDuration: { seconds: BigInt(duration), nanos: 0 } } : {}),
          },
        },
        updateMask: { paths },
        requestId,
      }),
    );
    if (done) close();
  };
  return (
    <Dialog title={words.changeHeading(idOf(job.name))} close={close} testid="change-job">
      <form class="stack" onSubmit={send}>
        {form.field(
          "priority",
          words.priority,
          <input {...form.bind("priority", "change-priority")} inputMode="numeric" autocomplete="off" />,
          t.value.submit.priorityHint,
        )}
        {form.field(
          "service_class",
          words.class,
          <select {...form.bind("service_class", "change-class")}>
            <option value="guaranteed">{t.value.class.guaranteed}</option>
            <option value="best-effort">{t.value.class.bestEffort}</option>
          </select>,
          t.value.submit.classHint,
        )}
        {form.field(
          "expected_duration",
          words.expectedDuration,
          <input {...form.bind("expected_duration")} autocomplete="off" />,
          t.value.submit.durationHint,
        )}
        {form.field("labels", words.labels, <input {...form.bind("labels")} autocomplete="off" spellcheck={false} />, words.labelsHint)}
        <Trouble problem={form.refused} />
        <Answers close={close} busy={form.busy} label={t.value.parts.save} testid="change-send" />
      </form>
    </Dialog>
  );
}
