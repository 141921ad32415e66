// Pictures to SVG: drop or paste them, compare each with its source, see why the stack chose what it chose.
import { useEffect, useState } from "react";
import { Problem } from "../../api/client";
import { useOffer } from "../../api/offer";
import { Button, Choice, Drop, NumberInput, Range, Segments, Toggle } from "../../ui/controls";
import { Empty, Progress } from "../../ui/feedback";
import { bytes, share } from "../../ui/format";
import { useCtrlEnter } from "../../ui/shortcuts";
import { toast } from "../../ui/toasts";
import { Compare } from "./compare";
import { type Conversion, type Options, useConversions } from "./conversions";
import { Insights } from "./insights";
import { saveAll } from "./zip";

const ACCEPTED = [
  ...["image/png", "image/jpeg", "image/webp", "image/avif", "image/gif", "image/bmp", "image/tiff"],
  ...["image/x-icon", "image/vnd.microsoft.icon"],
];
const DEFAULTS: Options = {
  tier: "auto",
  targetQuality: 0.9,
  maxBytes: null,
  maxPaths: null,
  maxColors: null,
  shapes: true,
  removeBackground: false,
  curves: "cubic",
  groupBy: "none",
  cutOut: false,
  outlines: false,
};
const CURVES = [
  { id: "cubic", name: "Cubic Béziers" },
  { id: "quadratic", name: "Quadratic Béziers" },
  { id: "arcs", name: "Lines and arcs" },
  { id: "lines", name: "Lines" },
];
const GROUPS = [
  { id: "none", name: "None" },
  { id: "color", name: "By colour" },
  { id: "parent", name: "By what lies within" },
  { id: "layer", name: "By layer" },
];
const TIERS = ["auto", "1", "2", "3"].map((id) => ({ id, name: id === "auto" ? "Automatic" : `Tier ${id}` }));

export function Vectorise() {
  const offer = useOffer();
  const [options, setOptions] = useState<Options>(DEFAULTS);
  const { all, add, again, clear } = useConversions(options);
  const [chosen, setChosen] = useState<string>();
  const shown = all.find((one) => one.key === chosen) ?? all[0];
  const done = all.filter((one) => one.state === "done");

  const receive = (files: File[]) => {
    const limit = offer.data?.limits.max_upload_bytes ?? Number.POSITIVE_INFINITY;
    const tooLarge = files.filter((file) => file.size > limit);
    if (tooLarge.length)
      toast("error", `${tooLarge[0]?.name}: larger than ${bytes(limit)}, the most that this site takes`);
    const added = add(files.filter((file) => file.size <= limit));
    if (added[0]) setChosen(added[0].key);
    else if (!tooLarge.length) toast("error", "These are no pictures");
  };
  useCtrlEnter(again);
  useEffect(() => {
    const paste = (event: ClipboardEvent) => {
      const files = [...(event.clipboardData?.files ?? [])];
      if (files.length) receive(files);
    };
    window.addEventListener("paste", paste);
    return () => {
      window.removeEventListener("paste", paste);
    };
  });

  return (
    <div className="split">
      <section className="panel" aria-labelledby="vectorise">
        <h1 id="vectorise">Vectorise</h1>
        <Drop label="Pictures" accept={ACCEPTED} multiple onFiles={receive}>
          <p>Drop pictures here, or paste one.</p>
        </Drop>
        <Segments
          label="Tier"
          value={options.tier}
          onChange={(tier) => setOptions({ ...options, tier })}
          options={TIERS}
        />
        <Range
          label="Target quality"
          value={options.targetQuality}
          onChange={(targetQuality) => setOptions({ ...options, targetQuality })}
          min={0.5}
          max={1}
          step={0.01}
          shown={share(options.targetQuality)}
        />
        <div className="row">
          <NumberInput
            label="Most bytes"
            value={options.maxBytes}
            onChange={(maxBytes) => setOptions({ ...options, maxBytes })}
            min={100}
            placeholder="any"
          />
          <NumberInput
            label="Most paths"
            value={options.maxPaths}
            onChange={(maxPaths) => setOptions({ ...options, maxPaths })}
            min={1}
            placeholder="any"
          />
          <NumberInput
            label="Most colours"
            value={options.maxColors}
            onChange={(maxColors) => setOptions({ ...options, maxColors })}
            min={2}
            max={48}
            placeholder="any"
          />
        </div>
        <Toggle
          label="Whole circles, rectangles and strokes"
          value={options.shapes}
          onChange={(shapes) => setOptions({ ...options, shapes })}
        />
        <Toggle
          label="Without background"
          value={options.removeBackground}
          onChange={(removeBackground) => setOptions({ ...options, removeBackground })}
        />
        <details className="more">
          <summary>How it is drawn</summary>
          <div className="row">
            <Choice
              label="Curves"
              value={options.curves}
              onChange={(curves) => setOptions({ ...options, curves })}
              options={CURVES}
            />
            <Choice
              label="Groups"
              value={options.groupBy}
              onChange={(groupBy) => setOptions({ ...options, groupBy })}
              options={GROUPS}
            />
          </div>
          <Toggle
            label="Cut out, nothing below another shape"
            value={options.cutOut}
            onChange={(cutOut) => setOptions({ ...options, cutOut })}
          />
          <Toggle
            label="Outlines only"
            value={options.outlines}
            onChange={(outlines) => setOptions({ ...options, outlines })}
          />
        </details>
        {all.length > 0 && (
          <div className="actions">
            <Button onPress={again}>Again, with these settings</Button>
            <Button onPress={() => saveAll(done)} isDisabled={!done.length}>
              Save all as ZIP
            </Button>
            <Button quiet onPress={clear}>
              Clear
            </Button>
          </div>
        )}
        <List all={all} chosen={shown?.key} choose={setChosen} />
      </section>
      <section className="canvas" aria-label="Comparison">
        {shown ? (
          <Shown conversion={shown} />
        ) : (
          <Empty title="From pixels to curves">
            <p>
              Logos, icons, drawings and scans become small SVGs that can be edited and scaled. One picture or a
              hundred.
            </p>
          </Empty>
        )}
      </section>
    </div>
  );
}

function List({ all, chosen, choose }: { all: Conversion[]; chosen?: string; choose: (key: string) => void }) {
  if (all.length < 2) return null;
  const done = all.filter((one) => one.state === "done" || one.state === "failed").length;
  return (
    <>
      <Progress value={done / all.length} label="Pictures done" />
      <ul className="list" aria-label="Pictures">
        {all.map((one) => (
          <li key={one.key}>
            <button
              type="button"
              className="listitem"
              aria-pressed={one.key === chosen}
              onClick={() => choose(one.key)}
            >
              <img src={one.svg ?? one.source} alt="" width="36" height="36" loading="lazy" />
              <span className="ellipsis">{one.file.name}</span>
              <span className="muted">{standing(one)}</span>
            </button>
          </li>
        ))}
      </ul>
    </>
  );
}

const standing = (one: Conversion) =>
  one.state === "done" && one.result
    ? bytes(one.result.ai_metadata.bytes)
    : { waiting: "waiting", running: "…", failed: "failed", done: "" }[one.state];

function Shown({ conversion }: { conversion: Conversion }) {
  const { result, svg, state, error } = conversion;
  if (state === "failed") {
    return (
      <div className="empty" role="alert">
        <h2>{error instanceof Problem ? error.title : "It failed"}</h2>
        <p>{error instanceof Problem ? error.detail : String(error)}</p>
      </div>
    );
  }
  return (
    <div className="stack">
      <Compare
        source={conversion.source}
        svg={svg}
        content={result?.svg_content}
        name={conversion.file.name}
        isBusy={state !== "done"}
      />
      {result && <Insights conversion={conversion} result={result} />}
    </div>
  );
}
