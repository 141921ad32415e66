// One drawing: its place in the queue, its previews, then the picture and what can be done with it.
import { useState } from "react";
import { local, withQuery } from "../../api/client";
import { isOver, type Job, useDraw, useJob, useJobAction } from "../../api/queries";
import { Button, LinkButton } from "../../ui/controls";
import { Progress } from "../../ui/feedback";
import { plainFacts, seconds } from "../../ui/format";
import { PictureView } from "../../ui/picture_view";
import { toastError } from "../../ui/toasts";
import { type Settings, settingsOf } from "./settings";

interface Props {
  id: string;
  take: (settings: Partial<Settings>) => void;
  vary: (settings: Partial<Settings>) => void;
  show: (ids: string[]) => void;
  /** Draws from this picture. */
  begin: (resultId: string, url: string) => void;
  remove: () => void;
}

interface Result {
  id: string;
  url: string;
  media_type: string;
  seed?: number;
}

export function Drawing({ id, take, vary, show, begin, remove }: Props) {
  const { data: job, isError } = useJob(id);
  const act = useJobAction();
  const add = useDraw();
  const [isOpen, setOpen] = useState(false);
  if (isError) {
    return (
      <li className="tile">
        <div className="frame failed">This drawing is gone.</div>
        <div className="actions">
          <Button quiet onPress={remove}>
            Remove
          </Button>
        </div>
      </li>
    );
  }
  if (!job) return <li className="tile skeleton" aria-label="Loading" />;
  const result = (job.results as unknown as Result[])[0];
  const taken = settingsOf(job.prompt, { ...job.parameters, seed: result?.seed ?? job.parameters.seed });
  const vectorise = async () => {
    if (!result) return;
    try {
      show(await add.mutateAsync({ kind: "vectorize", input: { result_id: result.id } }));
    } catch (error) {
      toastError(error);
    }
  };
  return (
    <li className="tile">
      {result ? (
        <button type="button" className="frame" onClick={() => setOpen(true)} aria-label={`Open: ${title(job)}`}>
          <img src={local(result.url)} alt={title(job)} decoding="async" />
        </button>
      ) : (
        <div className="frame">
          {job.preview_url ? (
            <img src={local(job.preview_url)} alt={`Preview of ${title(job)}`} className="preview" />
          ) : (
            <span className="muted">{state(job)}</span>
          )}
        </div>
      )}
      {!isOver(job) && <Progress value={job.progress} label={`Progress of ${title(job)}`} />}
      {job.status === "failed" && (
        <p className="error">{String(job.error?.detail ?? job.error?.title ?? "It failed.")}</p>
      )}
      <p className="caption" title={title(job)}>
        {title(job)}
        <span className="muted">{isOver(job) ? facts(job, result) : state(job)}</span>
      </p>
      <div className="actions">
        {!isOver(job) && (
          <Button quiet onPress={() => act.mutate({ id, action: "cancel" })}>
            Cancel
          </Button>
        )}
        {result && (
          <>
            <LinkButton href={withQuery(local(result.url), { download: 1 })} download="">
              Save
            </LinkButton>
            {job.kind !== "vectorize" && (
              <>
                <Button onPress={() => vary(taken)}>Vary</Button>
                <Button onPress={() => take(taken)} label="Take its settings into the form">
                  Settings
                </Button>
                {result.media_type !== "image/svg+xml" && (
                  <>
                    <Button onPress={() => begin(result.id, result.url)}>Draw from it</Button>
                    <Button onPress={vectorise}>Vectorise</Button>
                  </>
                )}
              </>
            )}
          </>
        )}
        {(job.status === "failed" || job.status === "cancelled") && (
          <Button quiet onPress={remove}>
            Remove
          </Button>
        )}
      </div>
      {result && (
        <PictureView
          isOpen={isOpen}
          onClose={() => setOpen(false)}
          url={local(result.url)}
          title={title(job)}
          facts={plainFacts({ ...job.parameters, ...job.details })}
        />
      )}
    </li>
  );
}

const title = (job: Job) => job.prompt || (job.kind === "vectorize" ? "Vectorised" : "Drawing");

function state(job: Job): string {
  if (job.status === "pending") return job.position ? `Number ${job.position} in the queue` : "Waiting";
  if (job.status === "paused") return "Paused";
  return job.step && job.steps ? `Step ${job.step} of ${job.steps}` : "Begins";
}

function facts(job: Job, result?: Result): string {
  if (job.status === "cancelled") return "Cancelled";
  const parts = [
    result?.seed !== undefined && `seed ${result.seed}`,
    job.cached ? "cached" : seconds(job.generation_time_s),
  ];
  return parts.filter(Boolean).join(" · ");
}
