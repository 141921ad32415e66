// A picture in the style of others: choose styles and how much, see before and after under one slider.
import { useEffect, useRef, useState } from "react";
import { Button, Drop, LinkButton, Range, Toggle } from "../../ui/controls";
import { Empty, Progress } from "../../ui/feedback";
import { percent, seconds } from "../../ui/format";
import { useCtrlEnter } from "../../ui/shortcuts";
import { toast, toastError } from "../../ui/toasts";
import { Slider } from "./slider";
import { type Painted, paint, type Style, useStyles } from "./transfer";

const ACCEPTED = ["image/png", "image/jpeg", "image/webp", "image/svg+xml"];
const MOST = 4;

export function Restyle() {
  const styles = useStyles();
  const [file, setFile] = useState<File>();
  const [source, setSource] = useState<string>();
  const [own, setOwn] = useState<File>();
  const [weights, setWeights] = useState<Record<string, number>>({});
  const [strength, setStrength] = useState(1);
  const [keepsColors, setKeepsColors] = useState(false);
  const [painted, setPainted] = useState<Painted>();
  const [isBusy, setBusy] = useState(false);
  const [share, setShare] = useState(0);
  const running = useRef<AbortController>(null);

  useEffect(() => {
    if (!file) return;
    const url = URL.createObjectURL(file);
    setSource(url);
    setPainted(undefined);
    return () => {
      running.current?.abort(); // of this picture: another one, or another page, is shown
      URL.revokeObjectURL(url);
    };
  }, [file]);

  const chosen = Object.keys(weights);
  const isSvg = file?.type === "image/svg+xml";
  const ready = file !== undefined && (chosen.length > 0 || (own !== undefined && !isSvg)) && !isBusy;
  const toggle = (name: string) => {
    const { [name]: present, ...others } = weights;
    if (present !== undefined) setWeights(others);
    else if (isSvg) setWeights({ [name]: 1 });
    else if (chosen.length < MOST) setWeights({ ...weights, [name]: 1 });
    else toast("error", `At most ${MOST} styles are mixed`);
  };
  const take = (first: File) => {
    setFile(first);
    const [name] = chosen;
    if (first.type === "image/svg+xml" && name) setWeights({ [name]: 1 }); // an SVG takes one style
  };
  const go = async () => {
    if (!ready || !file) return;
    const run = new AbortController();
    running.current = run;
    const { signal } = run;
    setBusy(true);
    setShare(0);
    try {
      const made = await paint({ file, weights, own, strength, keepsColors }, setShare, signal);
      if (made && !signal.aborted) setPainted(made);
    } catch (error) {
      if (!signal.aborted) toastError(error);
    } finally {
      setBusy(false);
    }
  };
  useCtrlEnter(go);

  return (
    <div className="split">
      <section className="panel" aria-labelledby="restyle">
        <h1 id="restyle">Restyle</h1>
        <Drop label="Picture" accept={ACCEPTED} onFiles={([first]) => first && take(first)}>
          <p>{file ? file.name : "Drop a picture or an SVG here."}</p>
        </Drop>
        <StyleList styles={styles.data?.styles ?? []} weights={weights} toggle={toggle} />
        {chosen.length > 1 &&
          chosen.map((name) => (
            <Range
              key={name}
              label={`Share of ${name}`}
              value={weights[name] ?? 1}
              onChange={(weight) => setWeights({ ...weights, [name]: weight })}
              min={0.1}
              max={3}
              step={0.1}
            />
          ))}
        {!isSvg && (
          <Drop
            label="A style of your own"
            accept={ACCEPTED.slice(0, 3)}
            onFiles={([first]) => {
              setOwn(first);
              setWeights({});
            }}
          >
            <p>{own && chosen.length === 0 ? own.name : "Or drop a picture whose style is taken."}</p>
          </Drop>
        )}
        <Range
          label="Strength"
          value={strength}
          onChange={setStrength}
          min={0}
          max={1}
          step={0.05}
          shown={percent(strength)}
        />
        {!isSvg && <Toggle label="Keep the picture's colours" value={keepsColors} onChange={setKeepsColors} />}
        <div className="actions">
          <Button primary onPress={go} isDisabled={!ready}>
            {isBusy ? "Painting…" : "Paint"}
          </Button>
          {painted && (
            <LinkButton href={painted.url} download={painted.name}>
              Save
            </LinkButton>
          )}
        </div>
      </section>
      <section className="canvas" aria-label="Before and after">
        {source ? (
          <div className="stack">
            <Slider before={source} after={painted?.url} name={file?.name ?? ""} isBusy={isBusy} />
            {isBusy && !isSvg && <Progress value={share} label="Painted" />}
            {painted && (
              <p className="muted" role="status">
                {painted.seconds === undefined ? "Painted" : `Painted in ${seconds(painted.seconds)}`}
              </p>
            )}
          </div>
        ) : (
          <Empty title="Painted anew">
            <p>A picture in the style of another: oil, mosaic, woodcut, or any picture of yours. SVGs stay SVGs.</p>
          </Empty>
        )}
      </section>
    </div>
  );
}

interface ListProps {
  styles: Style[];
  weights: Record<string, number>;
  toggle: (name: string) => void;
}

function StyleList({ styles, weights, toggle }: ListProps) {
  return (
    <ul className="styletiles" aria-label="Styles">
      {styles.map((style) => (
        <li key={style.name}>
          <button
            type="button"
            className="styletile"
            aria-pressed={style.name in weights}
            title={style.description}
            onClick={() => toggle(style.name)}
          >
            <img src={style.image_url} alt="" width="72" height="72" loading="lazy" />
            <span className="ellipsis">{style.title}</span>
          </button>
        </li>
      ))}
    </ul>
  );
}
