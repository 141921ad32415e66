import { lazy, Suspense, useState } from "react";
import type { Schemas } from "../../api/client";
import { Button, Dialog } from "../../ui/controls";
import { Skeletons } from "../../ui/feedback";
import { COLOURS, placeOf } from "./box_canvas";
import { NO_LAYOUT, placedParts, usePlaced } from "./layout";

import type { Settings } from "./settings";

const LayoutEditor = lazy(() => import("./layout_editor").then((module) => ({ default: module.LayoutEditor })));

interface Props {
  settings: Settings;
  change: (change: Partial<Settings>) => void;
  offer: Schemas["OfferResponse"];
  size: { width: number; height: number };
  backdrop?: string;
}

/** The layout in small, and the way into its editor. */
export function LayoutPanel({ settings, change, offer, size, backdrop }: Props) {
  const [isOpen, setOpen] = useState(false);
  const { layout } = settings;
  const placed = usePlaced(layout, size);
  const parts = placedParts(layout, placed.boxes);
  return (
    <div className="stack">
      {parts.length > 0 && (
        <button
          type="button"
          className="boxes small"
          style={{ aspectRatio: `${size.width} / ${size.height}` }}
          onClick={() => setOpen(true)}
          aria-label="Open the layout"
        >
          {parts.map(({ part, box }, index) => (
            <span
              key={part.key}
              className={`box colour-${index % COLOURS}${part.mask ? " masked" : ""}`}
              style={placeOf(box)}
            >
              {part.mask && <span className="shape" style={{ maskImage: `url("${part.mask}")` }} />}
              <span className="ellipsis">{part.name || part.prompt}</span>
            </span>
          ))}
        </button>
      )}
      {layout.parts.length === 0 && (
        <p className="muted">
          Say what is where: boxes with prompts of their own, or subjects that stand to each other.
        </p>
      )}
      <div className="actions">
        <Button onPress={() => setOpen(true)}>{layout.parts.length ? "Change the layout" : "Lay it out"}</Button>
        {layout.parts.length > 0 && (
          <Button quiet onPress={() => change({ layout: NO_LAYOUT })}>
            Remove all
          </Button>
        )}
      </div>
      <Dialog title="Regions and subjects" isOpen={isOpen} onClose={() => setOpen(false)} wide>
        <Suspense fallback={<Skeletons count={3} className="line" />}>
          <LayoutEditor
            layout={layout}
            change={(next) => change({ layout: next })}
            prompt={settings.prompt}
            changePrompt={(prompt) => change({ prompt })}
            size={size}
            limits={offer.limits}
            relations={offer.relations}
            backdrop={backdrop}
          />
        </Suspense>
      </Dialog>
    </div>
  );
}
