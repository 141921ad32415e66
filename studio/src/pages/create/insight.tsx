// What the prompt says, while it is written, and what would make it better.
import { useState } from "react";
import { enhance, useAnalysis } from "../../api/mind";
import { useOffer } from "../../api/offer";
import { Button } from "../../ui/controls";
import { toast, toastError } from "../../ui/toasts";
import type { Settings } from "./settings";

const CATEGORIES = ["styles", "moods", "colors", "lighting", "textures", "compositions"] as const;

interface Props {
  settings: Settings;
  change: (change: Partial<Settings>) => void;
}

export function Insight({ settings, change }: Props) {
  const { data } = useAnalysis(settings.prompt);
  const offer = useOffer();
  const [reasons, setReasons] = useState<{ text: string; reason: string }[]>([]);
  const [busy, setBusy] = useState(false);
  if (!settings.prompt.trim() || !data) return null;
  const keywords = CATEGORIES.flatMap((category) => data.keywords[category].map(({ name }) => name));
  const names = [...new Set([...data.concepts.map(({ name }) => name), ...keywords])];
  const better = async () => {
    setBusy(true);
    try {
      const before = { prompt: settings.prompt, negativePrompt: settings.negativePrompt };
      const found = await enhance(settings.prompt, offer.data?.keeps ?? false);
      change({ prompt: found.enhanced, negativePrompt: settings.negativePrompt || found.negative_prompt });
      setReasons(found.changes);
      const undo = () => {
        change(before);
        setReasons([]);
      };
      toast("success", "The prompt is richer", { action: { label: "Undo", run: undo } });
    } catch (error) {
      toastError(error);
    } finally {
      setBusy(false);
    }
  };
  return (
    <section className="insight" aria-label="Analysis">
      <p className="chips">
        <span className="chip">{data.sentiment.label}</span>
        {data.mood && <span className="chip">{data.mood.name}</span>}
        {names.map((name) => (
          <span key={name} className="chip">
            {name}
          </span>
        ))}
      </p>
      {data.palette.length > 0 && (
        <ul className="swatches" aria-label="Palette">
          {data.palette.map(({ hex, name }) => (
            <li key={`${name} ${hex}`}>
              <span
                role="img"
                aria-label={`${name} ${hex}`}
                title={`${name} ${hex}`}
                style={{ backgroundColor: hex }}
              />
            </li>
          ))}
        </ul>
      )}
      <div className="actions">
        <Button onPress={better} isDisabled={busy}>
          Improve
        </Button>
        {data.style_suggestions.slice(0, 3).map(({ style, phrase, reason }) => (
          <Button
            key={style}
            quiet
            label={`Add ${style}: ${reason}`}
            onPress={() => change({ prompt: `${settings.prompt.replace(/[\s,.]+$/, "")}, ${phrase}` })}
          >
            + {style}
          </Button>
        ))}
      </div>
      {reasons.length > 0 && (
        <ul className="reasons muted" aria-label="What was added">
          {reasons.map(({ text, reason }) => (
            <li key={text}>
              <strong>{text}</strong>: {reason}
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}
