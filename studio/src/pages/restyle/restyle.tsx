// A picture in the style of others: choose styles, how much and where, see before and after under one slider.
import { useEffect, useRef, useState } from "react";
import { Button, Drop, LinkButton, Range, Segments, Toggle } from "../../ui/controls";
import { Empty, Failed, Progress, Skeletons } from "../../ui/feedback";
import { seconds, share } from "../../ui/format";
import { useCtrlEnter } from "../../ui/shortcuts";
import { toast, toastError } from "../../ui/toasts";
import { type Picture, pictureOfFile } from "../create/picture";
import { Slider } from "./slider";
import { ownUse, type Painted, paint, type Style, styleUse, type Use, useOptimises, useStyles } from "./transfer";
import { Uses } from "./uses";

const ACCEPTED = ["image/png", "image/jpeg", "image/webp", "image/svg+xml"];
const MOST = 4;
const WAYS = [
  { id: "pass", name: "In one pass" },
  { id: "steps", name: "By optimisation" },
];
const STEPS = 100;

export function Restyle() {
  const styles = useStyles();
  const optimises = useOptimises().data ?? false;
  const [file, setFile] = useState<File>();
  const [source, setSource] = useState<Picture>();
  const [uses, setUses] = useState<Use[]>([]);
  const [strength, setStrength] = useState(1);
  const [keepsColors, setKeepsColors] = useState(false);
  const [iterations, setIterations] = useState(0);
  const [painted, setPainted] = useState<Painted>();
  const [isBusy, setBusy] = useState(false);
  const [progress, setProgress] = useState(0);
  const running = useRef<AbortController>(null);
  useEffect(() => () => running.current?.abort(), []);

  const isSvg = file?.type === "image/svg+xml";
  const named = isSvg ? uses.filter(({ name }) => name).slice(0, 1) : uses;
  const ready = file !== undefined && source !== undefined && named.length > 0 && !isBusy;
  const toggle = (style: Style) => {
    if (uses.some(({ key }) => key === style.name)) setUses(uses.filter(({ key }) => key !== style.name));
    else add(styleUse(style));
  };
  const add = (use: Use) => {
    const others = isSvg ? [] : uses.filter(({ key }) => key !== use.key); // an SVG takes one style
    if (others.length < MOST) setUses([...others, use]);
    else toast("error", `At most ${MOST} styles are mixed`);
  };
  const take = async (first: File) => {
    running.current?.abort(); // of the picture before
    try {
      setSource(await pictureOfFile(first));
    } catch (error) {
      return toastError(error);
    }
    setFile(first);
    setPainted(undefined);
    setUses((before) => before.map((use) => ({ ...use, mask: null }))); // regions were those of another picture
  };
  const takeOwn = async (first: File) => {
    try {
      add(ownUse(await pictureOfFile(first), first));
    } catch (error) {
      toastError(error);
    }
  };
  const go = async () => {
    if (!ready || !file) return;
    const run = new AbortController();
    running.current = run;
    const { signal } = run;
    setBusy(true);
    setProgress(0);
    try {
      const order = { file, uses: named, strength, keepsColors, iterations: optimises ? iterations : 0 };
      const made = await paint(order, setProgress, signal);
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
          <p className="ellipsis">{file ? file.name : "Drop a picture or an SVG here."}</p>
        </Drop>
        {styles.isError && <Failed error={styles.error} retry={styles.refetch} />}
        {styles.isPending && <Skeletons count={3} className="line" />}
        <StyleList styles={styles.data?.styles ?? []} uses={named} toggle={toggle} />
        {!isSvg && (
          <Drop
            label="A style of your own"
            accept={ACCEPTED.slice(0, 3)}
            onFiles={([first]) => first && takeOwn(first)}
          >
            <p>Or drop a picture whose style is taken.</p>
          </Drop>
        )}
        {named.length > 0 && (
          <Uses
            uses={named}
            change={(key, change) => setUses(uses.map((use) => (use.key === key ? { ...use, ...change } : use)))}
            remove={(key) => setUses(uses.filter((use) => use.key !== key))}
            size={isSvg ? undefined : source}
            backdrop={source?.url}
          />
        )}
        <Range
          label="Strength"
          value={strength}
          onChange={setStrength}
          min={0}
          max={1}
          step={0.05}
          shown={share(strength)}
        />
        {!isSvg && <Toggle label="Keep the picture's colours" value={keepsColors} onChange={setKeepsColors} />}
        {!isSvg && optimises && (
          <>
            <Segments
              label="How it is painted"
              value={iterations ? "steps" : "pass"}
              onChange={(way) => setIterations(way === "steps" ? STEPS : 0)}
              options={WAYS}
            />
            {iterations > 0 && (
              <Range label="Steps" value={iterations} onChange={setIterations} min={20} max={500} step={10} />
            )}
          </>
        )}
        <div className="actions commit">
          <Button primary onPress={go} isDisabled={!ready}>
            {isBusy ? "Painting…" : "Paint"} <kbd>Ctrl Enter</kbd>
          </Button>
          {isBusy && <Button onPress={() => running.current?.abort()}>Cancel</Button>}
          {painted && !isBusy && (
            <LinkButton href={painted.url} download={painted.name}>
              Save
            </LinkButton>
          )}
        </div>
      </section>
      <section className="canvas" aria-label="Before and after">
        {source ? (
          <div className="stack">
            <Slider before={source.url} after={painted?.url} name={file?.name ?? ""} isBusy={isBusy} />
            {isBusy && !isSvg && <Progress value={progress} label="Painted" />}
            {painted && !isBusy && (
              <p className="muted" role="status">
                {painted.seconds === undefined ? "Painted" : `Painted in ${seconds(painted.seconds)}`}
              </p>
            )}
            {!painted && !isBusy && (
              <p className="muted" role="status">
                {named.length ? "Press Paint to see it." : "Choose a style, or mix up to four."}
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
  uses: Use[];
  toggle: (style: Style) => void;
}

function StyleList({ styles, uses, toggle }: ListProps) {
  return (
    <ul className="styletiles" aria-label="Styles">
      {styles.map((style) => (
        <li key={style.name}>
          <button
            type="button"
            className="styletile"
            aria-pressed={uses.some(({ key }) => key === style.name)}
            title={style.description}
            onClick={() => toggle(style)}
          >
            <img src={style.image_url} alt="" width="72" height="72" loading="lazy" />
            <span className="ellipsis">{style.title}</span>
          </button>
        </li>
      ))}
    </ul>
  );
}
