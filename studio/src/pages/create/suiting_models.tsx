// Which of the site's models suit the prompt, by what it says and by the user's taste.
import { useState } from "react";
import { type Suiting, suitingModels } from "../../api/mind";
import { Button } from "../../ui/controls";
import { percent } from "../../ui/format";
import { toastError } from "../../ui/toasts";

interface Props {
  prompt: string;
  /** Names of those that the form offers. */
  models: string[];
  take: (model: string) => void;
}

export function SuitingModels({ prompt, models, take }: Props) {
  const [found, setFound] = useState<Suiting[]>();
  const ask = async () => {
    try {
      setFound((await suitingModels(prompt.trim())).models.filter(({ model }) => models.includes(model)));
    } catch (error) {
      toastError(error);
    }
  };
  return (
    <div className="stack">
      <div className="actions">
        <Button quiet onPress={ask} isDisabled={!prompt.trim()}>
          Which model suits?
        </Button>
      </div>
      {found && (
        <ul className="list" aria-label="Models that suit">
          {found.map(({ model, confidence, reason }) => (
            <li key={model} className="row spread fixed">
              <span>
                <strong>{model}</strong>{" "}
                <span className="muted">
                  {percent(confidence)}, {reason}
                </span>
              </span>
              <Button quiet label={`Use the model ${model}`} onPress={() => take(model)}>
                Use
              </Button>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}
