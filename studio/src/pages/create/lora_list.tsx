import { Link } from "@tanstack/react-router";
import type { Schemas } from "../../api/client";
import { Choice, NumberInput, Range } from "../../ui/controls";
import { RemoveButton } from "../../ui/remove_button";
import type { Edit, LoraUse } from "./guides";

interface Props {
  family: string;
  /** Those of the site. */
  loras: Schemas["LoraItem"][];
  uses: LoraUse[];
  most: number;
  mostWeight: number;
  edit: Edit<LoraUse>;
}

const SLIDER_REACHES = 2;

/** LoRAs that fit the chosen model, each with its weight. */
export function LoraList({ family, loras, uses, most, mostWeight, edit }: Props) {
  const fitting = loras.filter(({ families }) => families.includes(family));
  const chosen = uses.filter((use) => fitting.some(({ name }) => name === use.name));
  const free = fitting.filter(({ name }) => !uses.some((use) => use.name === name));
  const weigh = (name: string, weight: number) =>
    edit((now) => now.map((use) => (use.name === name ? { ...use, weight } : use)));
  return (
    <div className="stack">
      {fitting.length === 0 && <p className="muted">No LoRA fits {family} yet.</p>}
      <ul className="list">
        {chosen.map(({ name, weight }) => (
          <li key={name} className="guide">
            <div className="row spread">
              <strong className="ellipsis">{name}</strong>
              <RemoveButton
                label={`Remove ${name}`}
                onPress={() => edit((now) => now.filter((use) => use.name !== name))}
              />
            </div>
            <div className="row weight">
              <Range
                label={`Weight of ${name}`}
                value={weight}
                onChange={(next) => weigh(name, next)}
                min={-SLIDER_REACHES}
                max={SLIDER_REACHES}
                step={0.05}
                shown={weight < 0 ? "the opposite" : ""}
              />
              <NumberInput
                label="Exactly"
                value={weight}
                onChange={(next) => next !== null && weigh(name, next)}
                min={-mostWeight}
                max={mostWeight}
                step={0.05}
              />
            </div>
          </li>
        ))}
      </ul>
      {free.length > 0 && chosen.length < most && (
        <Choice
          label="Add a LoRA"
          value=""
          onChange={(name) => edit((now) => [...now, { name, weight: 1 }])}
          options={free.map(({ name }) => ({ id: name, name }))}
        />
      )}
      {chosen.length >= most && <p className="muted">A drawing takes {most} LoRAs at most.</p>}
      <Link to="/models" className="link">
        Add one to this site
      </Link>
    </div>
  );
}
