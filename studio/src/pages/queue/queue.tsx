// Jobs as they wait, run and end; every change can be taken back as long as the job is not over.
import { useState } from "react";
import { local, send } from "../../api/client";
import { isOver, type Job, useJobAction, useJobs, useQueueInfo, useSession } from "../../api/queries";
import { Button, Choice, Segments } from "../../ui/controls";
import { Empty, Failed, Progress, Skeletons } from "../../ui/feedback";
import { seconds, when } from "../../ui/format";
import { toastError } from "../../ui/toasts";

const STATES = ["all", "pending", "processing", "paused", "completed", "failed", "cancelled"];
const PRIORITIES = [
  { id: "-5", name: "Low" },
  { id: "0", name: "Normal" },
  { id: "5", name: "High" },
];

export function Queue() {
  const [status, setStatus] = useState("all");
  const jobs = useJobs(status === "all" ? {} : { status });
  const lanes = useQueueInfo();
  const mayStop = useSession().data?.scopes.includes("admin");
  const stop = async (lane: string, isStopped: boolean) => {
    try {
      await send("POST", `/api/admin/lanes/${lane}/${isStopped ? "pause" : "resume"}`);
      await lanes.refetch();
    } catch (error) {
      toastError(error);
    }
  };
  return (
    <div className="page">
      <div className="row spread">
        <h1>Queue</h1>
        <div className="row">
          {Object.entries(lanes.data?.lanes ?? {}).map(([name, lane]) => (
            <span key={name} className="actions">
              <span className="chip">
                {name}: {lane.processing} of {lane.slots} running, {lane.pending} waiting
                {lane.is_paused ? ", stopped" : ""}
              </span>
              {mayStop && (
                <Button quiet onPress={() => stop(name, !lane.is_paused)}>
                  {lane.is_paused ? `Resume ${name}` : `Stop ${name}`}
                </Button>
              )}
            </span>
          ))}
        </div>
      </div>
      <Segments label="State" value={status} onChange={setStatus} options={STATES.map((id) => ({ id, name: id }))} />
      {jobs.isError && <Failed error={jobs.error} retry={jobs.refetch} />}
      <ul className="list">
        {jobs.isPending && <Skeletons count={5} className="line" />}
        {jobs.data?.jobs.map((job) => (
          <Row key={job.id} job={job} />
        ))}
      </ul>
      {jobs.data?.jobs.length === 0 && (
        <Empty title="Nothing here">
          <p>Drawings and conversions appear here as soon as they are sent.</p>
        </Empty>
      )}
    </div>
  );
}

function Row({ job }: { job: Job }) {
  const change = useJobAction();
  const act = (action: string, body?: unknown) => change.mutate({ id: job.id, action, body }, { onError: toastError });
  const level = job.priority > 0 ? "5" : job.priority < 0 ? "-5" : "0";
  const name = job.prompt || job.kind;
  const thumbnail = (job.results[0]?.thumbnail_url ?? job.preview_url) as string | undefined;
  return (
    <li className="jobrow">
      {thumbnail ? (
        <img src={local(thumbnail)} alt="" loading="lazy" />
      ) : (
        <span className={`dot ${job.status === "processing" ? "busy" : ""}`} aria-hidden="true" />
      )}
      <div className="grow">
        <p className="ellipsis">{name}</p>
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
      </div>
    </li>
  );
}

function describe(job: Job): string {
  if (job.wish) return `${job.wish} asked for`;
  if (job.status === "pending")
    return `number ${job.position ?? "?"}${job.estimated_s ? `, about ${seconds(job.estimated_s)}` : ""}`;
  if (job.status === "processing") return job.steps ? `step ${job.step ?? 0} of ${job.steps}` : "running";
  if (job.status === "completed")
    return job.cached ? "completed, cached" : `completed in ${seconds(job.generation_time_s)}`;
  return job.status;
}
