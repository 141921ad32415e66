// "Let it choose": the models that suit the prompt draw it, and what they drew is ranked.
import { useEffect, useRef, useState } from "react";
import { local } from "../../api/client";
import { drawRanked, type Ranked } from "../../api/mind";
import { Button, Dialog } from "../../ui/controls";
import { Skeletons } from "../../ui/feedback";
import { percent, seconds } from "../../ui/format";
import { toastError } from "../../ui/toasts";

interface Props {
  prompt: string;
  seed: number | null;
  /** Names of those that the form offers. */
  models: string[];
  take: (model: string) => void;
}

export function ChosenModels({ prompt, seed, models, take }: Props) {
  const [isOpen, setOpen] = useState(false);
  const [found, setFound] = useState<Ranked>();
  const running = useRef<AbortController>(null);
  useEffect(() => () => running.current?.abort(), []);
  const close = () => {
    running.current?.abort();
    setOpen(false);
  };
  const draw = async () => {
    const run = new AbortController();
    running.current = run;
    setFound(undefined);
    setOpen(true);
    try {
      setFound(await drawRanked(prompt.trim(), seed, run.signal));
    } catch (error) {
      if (run.signal.aborted) return;
      toastError(error);
      setOpen(false);
    }
  };
  return (
    <>
      <Button quiet onPress={draw} isDisabled={!prompt.trim()}>
        Let it choose
      </Button>
      <Dialog title="Chosen and ranked" isOpen={isOpen} onClose={close} wide>
        {!found && <Skeletons count={2} />}
        {found && (
          <Results
            found={found}
            models={models}
            take={(model) => {
              take(model);
              close();
            }}
          />
        )}
      </Dialog>
    </>
  );
}

function Results({ found, models, take }: { found: Ranked; models: string[]; take: Props["take"] }) {
  const chosen = new Map(found.selected.map((one) => [one.model, one]));
  return (
    <div className="stack">
      <p className="muted">Ranked by {found.rankedBy}.</p>
      <ol className="grid" aria-label="Ranked pictures">
        {found.results.map((one) => (
          <li key={one.model} className="card">
            {one.imageUrl && <img src={local(one.imageUrl)} alt={`By ${one.model}`} className="ranked" />}
            <h3>{one.model}</h3>
            {one.error ? <p role="alert">{one.error}</p> : <p>{scores(one)}</p>}
            <p className="muted">
              Chosen with {percent(chosen.get(one.model)?.confidence)}: {chosen.get(one.model)?.reason}
            </p>
            {models.includes(one.model) && (
              <Button label={`Use this model: ${one.model}`} onPress={() => take(one.model)}>
                Use this model
              </Button>
            )}
          </li>
        ))}
      </ol>
    </div>
  );
}

/** The score and what it is made of. */
const scores = ({ score, fit, paletteAgreement, seconds: time }: Ranked["results"][number]) =>
  [
    `Score ${percent(score)}`,
    ...(fit === null ? [] : [`fits the prompt ${percent(fit)}`]),
    ...(paletteAgreement === null ? [] : [`colours ${percent(paletteAgreement)}`]),
    seconds(time),
  ].join(", ");
