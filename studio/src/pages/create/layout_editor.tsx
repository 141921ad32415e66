// Regions and subjects over the picture: their boxes on a canvas, their words beside it.
import { useRef, useState } from "react";
import { Problem, type Schemas } from "../../api/client";
import { Button, Text } from "../../ui/controls";
import { useUndoKeys } from "../../ui/shortcuts";
import { BoxCanvas, COLOURS, placeOf } from "./box_canvas";
import { type Box, type Layout, lacks, newPart, type Part, placedParts, usePlaced } from "./layout";
import { MaskEditor } from "./mask_editor";
import { PartForm } from "./part_form";
import { Relationships } from "./relationships";

interface Props {
  layout: Layout;
  change: (layout: Layout) => void;
  prompt: string;
  changePrompt: (prompt: string) => void;
  size: { width: number; height: number };
  limits: Schemas["LimitsOffer"];
  relations: string[];
  backdrop?: string;
}

const MOST_UNDONE = 50;
/** The stack's own feather is this part of the drawing's shorter side. */
const FEATHER_SHARE = 32;
const MIDDLE: Box = { left: 0.3, top: 0.3, width: 0.4, height: 0.4 };

export function LayoutEditor({ layout, change, prompt, changePrompt, size, limits, relations, backdrop }: Props) {
  const [selected, select] = useState<string | undefined>(layout.parts[0]?.key);
  const [history, setHistory] = useState<Layout[]>([]);
  /** Added last: its words come first. */
  const [added, setAdded] = useState<string>();
  const edited = useRef("");
  const editor = useRef<HTMLDivElement>(null);
  /** The region whose mask is painted; `new` for one that is not there yet. */
  const [painting, setPainting] = useState<string>();
  const [showsBackdrop, showBackdrop] = useState(true);
  const placed = usePlaced(layout, size);
  const { parts, relationships } = layout;
  const subjects = parts.filter(({ kind }) => kind === "subject");
  const shapes = placedParts(layout, placed.boxes).map(({ part, box }) => ({
    key: part.key,
    name: nameOf(part, parts),
    box,
    mask: part.mask,
  }));
  const isFull = parts.length >= limits.max_regions;
  /** Changes of the same `what` in a row are undone together. */
  const set = (next: Partial<Layout>, what = "") => {
    if (!what || what !== edited.current) setHistory((before) => [...before, layout].slice(-MOST_UNDONE));
    edited.current = what;
    change({ ...layout, ...next });
  };
  const undo = () => {
    const before = history.at(-1);
    if (!before) return;
    change(before);
    edited.current = "";
    setHistory((all) => all.slice(0, -1));
  };
  const add = (part: Part) => {
    set({ parts: [...parts, part] });
    select(part.key);
    setAdded(part.key);
  };
  const changePart = (key: string, next: Partial<Part>) =>
    set(
      { parts: parts.map((part) => (part.key === key ? { ...part, ...next } : part)) },
      `${Object.keys(next)} of ${key}`,
    );
  /** The focus goes to the part that is selected then, in what it was removed from. */
  const remove = (key: string, from: ".boxes" | ".parts") => {
    set({
      parts: parts.filter((part) => part.key !== key),
      relationships: relationships.filter(({ subject, object }) => subject !== key && object !== key),
    });
    const at = parts.findIndex((part) => part.key === key);
    select((parts[at + 1] ?? parts[at - 1])?.key);
    requestAnimationFrame(() => {
      const find = (what: string) => editor.current?.querySelector<HTMLElement>(what);
      (find(`${from} [aria-pressed=true]`) ?? find(".actions button"))?.focus();
    });
  };
  const painted = (mask: string | null) => {
    setPainting(undefined);
    if (!mask) return;
    if (painting === "new") add({ ...newPart("region", null), mask });
    else if (painting) changePart(painting, { mask, box: null });
  };
  const chosen = parts.find(({ key }) => key === selected);
  useUndoKeys(painting ? () => {} : undo);
  if (painting) {
    const part = parts.find(({ key }) => key === painting);
    return (
      <MaskEditor
        size={size}
        backdrop={showsBackdrop ? backdrop : undefined}
        under={shapes.map(
          ({ key, name, box, mask }, index) =>
            key !== painting &&
            !mask && (
              <div key={key} className={`box colour-${index % COLOURS}`} style={placeOf(box)}>
                <span className="name">{name}</span>
              </div>
            ),
        )}
        mask={part?.mask ?? null}
        feather={part?.feather ?? Math.min(size.width, size.height) / FEATHER_SHARE}
        label={`Region: ${part ? nameOf(part, parts) : "a new one"}`}
        done={painted}
        cancel={() => setPainting(undefined)}
      />
    );
  }
  return (
    <div ref={editor} className="layout-editor">
      <div className="stack">
        <BoxCanvas
          size={size}
          shapes={shapes}
          selected={selected}
          backdrop={showsBackdrop ? backdrop : undefined}
          select={select}
          change={(key, box) => {
            edited.current = "";
            changePart(key, { box });
          }}
          draw={isFull ? undefined : (box) => add(newPart("region", box))}
          remove={(key) => remove(key, ".boxes")}
        />
        <p className="hint">
          Drag over the picture to draw a region. Drag a box to move it, its edges to resize it.
          <span className="by-keyboard">
            {" "}
            By keyboard: arrows move, <kbd>Shift</kbd> arrows resize, <kbd>Ctrl</kbd> for larger steps,{" "}
            <kbd>Delete</kbd> removes.
          </span>
        </p>
        <div className="actions">
          <Button onPress={() => add(newPart("region", MIDDLE))} isDisabled={isFull}>
            Add a region
          </Button>
          <Button onPress={() => setPainting("new")} isDisabled={isFull}>
            Paint a region
          </Button>
          <Button
            onPress={() => add(newPart("subject", null))}
            isDisabled={isFull || subjects.length >= limits.max_subjects}
          >
            Add a subject
          </Button>
          <Button onPress={undo} isDisabled={!history.length}>
            Undo
          </Button>
          {backdrop && (
            <Button quiet pressed={showsBackdrop} onPress={() => showBackdrop(!showsBackdrop)}>
              Picture behind
            </Button>
          )}
        </div>
        {isFull && <p className="muted">A drawing takes {limits.max_regions} regions and subjects at most.</p>}
      </div>
      <div className="stack">
        <Text label="Everything else" rows={2} value={prompt} onChange={changePrompt} placeholder="A garden, flat" />
        {parts.length > 0 && (
          <ul className="list parts" aria-label="Regions and subjects">
            {parts.map((part) => (
              <li key={part.key}>
                <button
                  type="button"
                  className="listitem"
                  aria-pressed={part.key === selected}
                  onClick={() => select(part.key)}
                >
                  <span
                    aria-hidden="true"
                    className={`swatch colour-${shapes.findIndex(({ key }) => key === part.key) % COLOURS}`}
                  />
                  <span className="ellipsis">{nameOf(part, parts)}</span>
                  {lacks(part) && <span className="warning">{lacks(part)}</span>}
                </button>
              </li>
            ))}
          </ul>
        )}
        {chosen && (
          <PartForm
            key={chosen.key}
            part={chosen}
            isNew={chosen.key === added}
            mostFeather={limits.max_feather_px}
            change={(next) => changePart(chosen.key, next)}
            remove={() => remove(chosen.key, ".parts")}
            raise={raised(parts, chosen.key, 1) && (() => set({ parts: raised(parts, chosen.key, 1) ?? parts }))}
            paint={() => setPainting(chosen.key)}
            lower={raised(parts, chosen.key, -1) && (() => set({ parts: raised(parts, chosen.key, -1) ?? parts }))}
          />
        )}
        {subjects.length > 1 && (
          <Relationships
            subjects={subjects}
            relations={relations}
            relationships={relationships}
            most={limits.max_relationships}
            change={(next) => set({ relationships: next })}
          />
        )}
        {placed.error && (
          <p className="error" role="alert">
            {placed.error instanceof Problem ? said(placed.error) : "The layout cannot be shown."}
          </p>
        )}
      </div>
    </div>
  );
}

const said = ({ field, detail }: Problem) => (field ? `${field.replaceAll("_", " ")}: ${detail}` : detail);

function nameOf(part: Part, parts: Part[]): string {
  const own = part.name.trim() || part.prompt.trim();
  const number = parts.filter(({ kind }) => kind === part.kind).indexOf(part) + 1;
  return own || `${part.kind === "subject" ? "Subject" : "Region"} ${number}`;
}

/** `parts` with one of them a layer higher or lower among its kind; nothing where there is no such layer. */
function raised(parts: Part[], key: string, by: number): Part[] | undefined {
  const at = parts.findIndex((part) => part.key === key);
  const kind = parts[at]?.kind;
  let to = at + by;
  while (parts[to] && parts[to]?.kind !== kind) to += by;
  const [one, other] = [parts[at], parts[to]];
  if (!one || !other || kind === "subject") return undefined;
  return parts.map((part, index) => (index === at ? other : index === to ? one : part));
}
