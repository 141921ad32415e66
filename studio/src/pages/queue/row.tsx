// One job: where it stands, what can be changed about it, and what it made.
import { useState } from "react";
import { local, withQuery } from "../../api/client";
import { isOver, type Job, useJobAction } from "../../api/queries";
import { Button, Choice, LinkButton } from "../../ui/controls";
import { Progress } from "../../ui/feedback";
import { plainFacts, seconds, when } from "../../ui/format";
import { PictureView } from "../../ui/picture_view";
import { toastError } from "../../ui/toasts";

const PRIORITIES = [
  { id: "-5", name: "Low" },
  { id: "0", name: "Normal" },
  { id: "5", name: "High" },
];

export function Row({ job }: { job: Job }) {
  const change = useJobAction();
  const [isOpen, setOpen] = useState(false);
  const act = (action: string, body?: unknown) => change.mutate({ id: job.id, action, body }, { onError: toastError });
  const level = job.priority > 0 ? "5" : job.priority < 0 ? "-5" : "0";
  const name = job.prompt || job.kind;
  const [first] = job.results;
  const thumbnail = (first?.thumbnail_url ?? job.preview_url) as string | undefined;
  const made = first?.url as string | undefined;
  const picture = thumbnail && <img src={local(thumbnail)} alt="" loading="lazy" />;
  return (
    <li className="jobrow">
      {made && picture ? (
        <button type="button" className="opens" onClick={() => setOpen(true)} aria-label={`Open: ${name}`}>
          {picture}
        </button>
      ) : (
        picture || <span className={`dot ${DOTS[job.status] ?? ""}`} aria-hidden="true" />
      )}
      <div className="grow">
        <p className="ellipsis" title={name}>
          {name}
        </p>
        <p className="muted">
          {job.kind} · {describe(job)} · {when(job.created_at)}
        </p>
        {!isOver(job) && <Progress value={job.progress} label={`Progress of ${name}`} />}
        {job.error && <p className="error">{String(job.error.detail ?? job.error.title)}</p>}
      </div>
      <div className="actions">
        {job.status === "pending" && (
          <Choice
            label="Priority"
            value={level}
            onChange={(id) => act("priority", { priority: Number(id) })}
            options={PRIORITIES}
          />
        )}
        {(job.status === "pending" || job.status === "processing") && (
          <Button label={`Pause ${name}`} onPress={() => act("pause")}>
            Pause
          </Button>
        )}
        {job.status === "paused" && (
          <Button label={`Resume ${name}`} onPress={() => act("resume")}>
            Resume
          </Button>
        )}
        {!isOver(job) && (
          <Button quiet label={`Cancel ${name}`} onPress={() => act("cancel")}>
            Cancel
          </Button>
        )}
        {(job.status === "failed" || job.status === "cancelled") && (
          <Button label={`Retry ${name}`} onPress={() => act("retry")}>
            Retry
          </Button>
        )}
        {made && (
          <LinkButton href={withQuery(local(made), { download: 1 })} download="" label={`Save ${name}`}>
            Save
          </LinkButton>
        )}
      </div>
      {made && isOpen && (
        <PictureView
          isOpen
          onClose={() => setOpen(false)}
          url={local(made)}
          title={name}
          facts={plainFacts({ ...job.parameters, ...job.details })}
        />
      )}
    </li>
  );
}

const DOTS: Record<string, string> = { processing: "busy", failed: "bad", completed: "good" };

function describe(job: Job): string {
  if (job.wish) return `${job.wish} asked for`;
  if (job.status === "pending")
    return `number ${job.position ?? "?"}${job.estimated_s ? `, about ${seconds(job.estimated_s)}` : ""}`;
  if (job.status === "processing") return job.steps ? `step ${job.step ?? 0} of ${job.steps}` : "running";
  if (job.status === "completed")
    return job.cached ? "completed, cached" : `completed in ${seconds(job.generation_time_s)}`;
  return job.status;
}
