// The source and its SVG under one slider; a loupe up to 32 times; the outlines and their nodes.
import { type PointerEvent, useMemo, useRef, useState } from "react";
import { Range, Segments } from "../../ui/controls";
import { cutAt, Divider, SplitRange } from "../../ui/split";
import { outlined } from "./outlines";

interface Props {
  source: string;
  svg?: string;
  content?: string;
  name: string;
  isBusy: boolean;
}

type View = "slider" | "svg" | "source" | "outlines";
const VIEWS = [
  { id: "slider", name: "Both" },
  { id: "svg", name: "SVG" },
  { id: "source", name: "Source" },
  { id: "outlines", name: "Outlines" },
];

export function Compare({ source, svg, content, name, isBusy }: Props) {
  const [view, setView] = useState<View>("slider");
  const [split, setSplit] = useState(50);
  const [zoom, setZoom] = useState(1);
  const [origin, setOrigin] = useState("50% 50%");
  const frame = useRef<HTMLDivElement>(null);
  const outlines = useMemo(() => (content && view === "outlines" ? outlined(content) : undefined), [content, view]);

  const follow = (event: PointerEvent) => {
    const box = frame.current?.getBoundingClientRect();
    if (!box || zoom === 1) return;
    setOrigin(`${((event.clientX - box.left) / box.width) * 100}% ${((event.clientY - box.top) / box.height) * 100}%`);
  };
  const scaled = { transform: `scale(${zoom})`, transformOrigin: origin };
  const pixels = zoom > 3 ? "pixels" : undefined;
  return (
    <div className="stack">
      <div className="row spread">
        <Segments label="View" value={view} onChange={(next) => setView(next as View)} options={VIEWS} />
        <Range
          label="Loupe"
          value={Math.log2(zoom)}
          onChange={(power) => setZoom(2 ** power)}
          min={0}
          max={5}
          step={0.5}
          shown={`${zoom.toFixed(zoom < 4 ? 1 : 0)}×`}
        />
      </div>
      <div ref={frame} className={isBusy ? "compare busy" : "compare"} onPointerMove={follow}>
        {(view === "slider" || view === "source" || !svg) && (
          <img src={source} alt={`Source: ${name}`} className={pixels} style={scaled} />
        )}
        {svg && (view === "slider" || view === "svg") && (
          <div className="over" style={view === "slider" ? cutAt(split) : undefined}>
            <img src={svg} alt={`SVG of ${name}`} style={scaled} />
          </div>
        )}
        {outlines && <img src={outlines} alt={`Outlines of ${name}`} style={scaled} />}
        {svg && view === "slider" && <Divider split={split} />}
      </div>
      {svg && view === "slider" && <SplitRange label="Source left, SVG right" split={split} setSplit={setSplit} />}
    </div>
  );
}
