// The styles that are mixed: how much of each, and where.
import { useState } from "react";
import { Button, Dialog, Range } from "../../ui/controls";
import { share } from "../../ui/format";
import { RemoveButton } from "../../ui/remove_button";
import type { Size } from "../create/mask";
import { MaskEditor } from "../create/mask_editor";
import { MOST_COVERED, type Use } from "./transfer";

interface Props {
  uses: Use[];
  change: (key: string, change: Partial<Use>) => void;
  remove: (key: string) => void;
  /** Of the picture that is painted; without it no region can be painted. */
  size?: Size;
  backdrop?: string;
}

export function Uses({ uses, change, remove, size, backdrop }: Props) {
  const [edited, setEdited] = useState<string>();
  const masked = uses.find(({ key }) => key === edited);
  const mixed = uses.filter(({ mask }) => mask === null);
  return (
    <ul className="list" aria-label="Chosen styles">
      {uses.map((use) => (
        <li key={use.key} className="styleuse">
          <img src={use.url} alt="" width="44" height="44" />
          <span className="ellipsis grow">{use.title}</span>
          {size && (
            <Button
              label={`${where(use)}: where ${use.title} goes`}
              pressed={use.mask !== null}
              onPress={() => setEdited(use.key)}
            >
              {where(use)}
            </Button>
          )}
          <RemoveButton label={`Remove ${use.title}`} onPress={() => remove(use.key)} />
          {use.mask !== null && (
            <Range
              label={`How much ${use.title} covers`}
              value={Math.min(use.weight, MOST_COVERED)}
              onChange={(weight) => change(use.key, { weight })}
              min={0.1}
              max={MOST_COVERED}
              step={0.05}
              shown={share(Math.min(use.weight, MOST_COVERED))}
            />
          )}
          {use.mask === null && mixed.length > 1 && (
            <Range
              label={`Share of ${use.title}`}
              value={use.weight}
              onChange={(weight) => change(use.key, { weight })}
              min={0.1}
              max={3}
              step={0.1}
              shown={share(use.weight / mixed.reduce((sum, { weight }) => sum + weight, 0))}
            />
          )}
        </li>
      ))}
      {masked && size && (
        <Dialog title={`Where ${masked.title} is painted`} isOpen onClose={() => setEdited(undefined)} wide>
          <p className="muted">
            What is white takes this style alone. Without a region it is painted everywhere, mixed with the others.
          </p>
          <MaskEditor
            size={size}
            backdrop={backdrop}
            mask={masked.mask}
            feather={0}
            label={`Region of ${masked.title}`}
            done={(mask) => {
              change(masked.key, { mask });
              setEdited(undefined);
            }}
            cancel={() => setEdited(undefined)}
          />
        </Dialog>
      )}
    </ul>
  );
}

const where = ({ mask }: Use) => (mask ? "In a region" : "Everywhere");
