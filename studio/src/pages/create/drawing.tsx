// One drawing: its place in the queue, its previews, then the picture and what can be done with it.
import { useEffect, useState } from "react";
import { local, type Schemas, withQuery } from "../../api/client";
import { isOver, type Job, useDraw, useJob, useJobAction } from "../../api/queries";
import { Button, LinkButton, More } from "../../ui/controls";
import { Progress } from "../../ui/feedback";
import { plainFacts, seconds } from "../../ui/format";
import { PictureView } from "../../ui/picture_view";
import { RemoveButton } from "../../ui/remove_button";
import { toastError } from "../../ui/toasts";
import { randomSeed, restore, type Settings, settingsOf } from "./settings";
import { type Source, sourceOf } from "./source";
import { usesOf } from "./uses";

interface Props {
  id: string;
  offer: Schemas["OfferResponse"];
  send: (settings: Settings, source: Source) => Promise<unknown>;
  show: (ids: string[]) => void;
  /** Called with the picture's address once there is one. */
  shown?: (url: string) => void;
  remove: () => void;
}

interface Result {
  id: string;
  url: string;
  media_type: string;
  seed?: number;
}

export function Drawing({ id, offer, send, show, shown, remove }: Props) {
  const { data: job, isError } = useJob(id);
  const act = useJobAction();
  const add = useDraw();
  const [isOpen, setOpen] = useState(false);
  const result = job && (job.results as unknown as Result[])[0];
  const url = result?.url;
  // biome-ignore lint/correctness/useExhaustiveDependencies: once per picture
  useEffect(() => {
    if (url) shown?.(url);
  }, [url]);
  if (isError) {
    return (
      <li className="tile">
        <div className="frame failed">This drawing is gone.</div>
        <div className="actions">
          <RemoveButton label="Remove" onPress={remove}>
            Remove
          </RemoveButton>
        </div>
      </li>
    );
  }
  if (!job) return <li className="tile skeleton" aria-label="Loading" />;
  const parameters = { ...job.parameters, seed: result?.seed ?? job.parameters.seed };
  const vary = () => {
    const own = { ...settingsOf(id, job.prompt, parameters), seed: randomSeed(), count: 1 };
    send(own, sourceOf(id, parameters));
  };
  const vectorise = async () => {
    if (!result) return;
    try {
      show(await add.mutateAsync({ kind: "vectorize", input: { result_id: result.id } }));
    } catch (error) {
      toastError(error);
    }
  };
  const uses = result ? usesOf({ id: result.id, url: result.url, name: job.prompt }, offer) : [];
  const [use] = uses;
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
                <Button onPress={vary}>Vary</Button>
                <Button onPress={() => restore(id, job.prompt, parameters)} label="Take its settings into the form">
                  Settings
                </Button>
                {result.media_type !== "image/svg+xml" && (
                  <>
                    <Button onPress={vectorise}>Vectorise</Button>
                    {use && uses.length === 1 && <Button onPress={use.run}>{use.name}</Button>}
                    {uses.length > 1 && <More text="Use" label={`Use ${title(job)}`} actions={uses} />}
                  </>
                )}
              </>
            )}
          </>
        )}
        {(job.status === "failed" || job.status === "cancelled") && (
          <RemoveButton label={`Remove ${title(job)}`} onPress={remove}>
            Remove
          </RemoveButton>
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
