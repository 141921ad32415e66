import type { ReactNode } from "react";
import { usePresets, useStyles } from "../../api/queries";
import { Button, Choice, NumberInput, Range, Section, Segments, Text, Toggle } from "../../ui/controls";
import { counted, number } from "../../ui/format";
import { ChosenModels } from "./chosen_models";
import { Insight } from "./insight";
import { drawnSteps, type Family, familyOf, randomSeed, type Settings } from "./settings";
import { useSource } from "./source";
import { SuitingModels } from "./suiting_models";

const FORMATS = [
  { id: "png", name: "PNG" },
  { id: "webp", name: "WebP" },
  { id: "jpeg", name: "JPEG" },
  { id: "svg", name: "SVG" },
];

interface Props {
  /** The picture to begin from, layout, LoRAs, references, control pictures. */
  sections: ReactNode;
  settings: Settings;
  change: (change: Partial<Settings>) => void;
  families: Family[];
  limits: { max_prompt_characters: number; max_steps: number; max_guidance: number; max_pictures: number };
  draw: () => void;
  isDrawing: boolean;
}

export function Form({ sections, settings, change, families, limits, draw, isDrawing }: Props) {
  const family = familyOf(settings, families);
  const left = limits.max_prompt_characters - settings.prompt.length;
  const canDraw = settings.prompt.trim() !== "" && left >= 0 && !isDrawing;
  const take = (model: string) => change({ model, sampler: "", width: null, height: null });
  return (
    <form
      className="form"
      onSubmit={(event) => {
        event.preventDefault();
        if (canDraw) draw();
      }}
    >
      <Text
        label="Prompt"
        rows={4}
        value={settings.prompt}
        onChange={(prompt) => change({ prompt })}
        placeholder="A red apple, flat style"
        hint={`${counted(words(settings.prompt), "word")} · ${number(settings.prompt.length)} of ${number(limits.max_prompt_characters)} characters`}
      />
      <Insight settings={settings} change={change} />
      <Templates change={change} />
      <Text
        label="Leave out"
        rows={2}
        value={settings.negativePrompt}
        onChange={(negativePrompt) => change({ negativePrompt })}
        placeholder="What must not be in the picture"
      />
      <Segments
        label="As"
        value={settings.format}
        onChange={(format) => change({ format: format as Settings["format"] })}
        options={FORMATS}
      />
      <Range label="Pictures" value={settings.count} onChange={(count) => change({ count })} min={1} max={8} />
      <Styles settings={settings} change={change} />
      {families.length > 1 && family && (
        <>
          <Choice
            label="Model"
            value={family.name}
            onChange={take}
            options={families.map(({ name }) => ({ id: name, name }))}
            hint={guidedElsewhere(family, families)}
          />
          <SuitingModels prompt={settings.prompt} models={families.map(({ name }) => name)} take={take} />
        </>
      )}
      {family && (
        <div className="actions">
          <ChosenModels
            prompt={settings.prompt}
            seed={settings.seed}
            models={families.map(({ name }) => name)}
            take={take}
          />
        </div>
      )}
      {sections}
      <Section title="Settings">
        {family && <FamilySettings settings={settings} change={change} family={family} limits={limits} />}
      </Section>
      <div className="row">
        <NumberInput
          label="Seed"
          value={settings.seed}
          onChange={(seed) => change({ seed })}
          min={0}
          max={2 ** 32 - 1}
          step={1}
          placeholder="random"
        />
        <Button label="A new seed" onPress={() => change({ seed: randomSeed() })}>
          ⚂
        </Button>
        <Toggle label="Keep" value={settings.lockSeed} onChange={(lockSeed) => change({ lockSeed })} />
      </div>
      <Button primary type="submit" isDisabled={!canDraw}>
        {isDrawing ? "Sending…" : "Draw"} <kbd>Ctrl Enter</kbd>
      </Button>
    </form>
  );
}

/** What other models can be guided by and this one cannot: its sections are not shown. */
function guidedElsewhere(family: Family, families: Family[]) {
  const guides = (one: Family) => [
    ...(one.takes_loras ? ["LoRAs"] : []),
    ...(one.takes_references ? ["references"] : []),
    ...(one.controls.length > 0 ? ["control pictures"] : []),
  ];
  const own = guides(family);
  return families
    .map((one) => ({ name: one.name, more: guides(one).filter((guide) => !own.includes(guide)) }))
    .filter(({ more }) => more.length > 0)
    .map(({ name, more }) => `${name} takes ${more.join(", ")}.`)
    .join(" ");
}

function FamilySettings({
  settings,
  change,
  family,
  limits,
}: Pick<Props, "settings" | "change" | "limits"> & { family: Family }) {
  const drawn = drawnSteps(settings, family, useSource());
  const side = { min: family.min_px, max: family.max_px, step: family.multiple_of_px };
  return (
    <div className="stack">
      <Choice
        label="Sampler"
        value={settings.sampler || family.sampler}
        onChange={(sampler) => change({ sampler })}
        options={family.samplers.map((name) => ({ id: name, name }))}
      />
      <Range
        label="Steps"
        value={drawn.steps}
        onChange={(steps) => change({ steps })}
        min={1}
        max={Math.min(60, limits.max_steps)}
      />
      <Range
        label="Guidance"
        value={drawn.guidance}
        onChange={(guidance) => change({ guidance })}
        min={0}
        max={Math.min(20, limits.max_guidance)}
        step={0.5}
      />
      {family.min_px < family.max_px && (
        <div className="row">
          <NumberInput
            label="Width"
            value={settings.width}
            onChange={(width) => change({ width })}
            {...side}
            placeholder={String(family.width)}
          />
          <NumberInput
            label="Height"
            value={settings.height}
            onChange={(height) => change({ height })}
            {...side}
            placeholder={String(family.height)}
          />
        </div>
      )}
    </div>
  );
}

/** Style, palette and mood of this site; a palette is exact in SVGs. */
function Styles({ settings, change }: Pick<Props, "settings" | "change">) {
  const { data } = useStyles();
  if (!data) return null;
  const choices = [
    { field: "style", label: "Style", list: data.artistic_styles },
    { field: "palette", label: "Palette", list: data.color_palettes },
    { field: "mood", label: "Mood", list: data.moods },
  ] as const;
  return (
    <div className="row">
      {choices.map(({ field, label, list }) => (
        <Choice
          key={field}
          label={label}
          value={settings[field]}
          onChange={(name) => change({ [field]: name })}
          options={[{ id: "", name: "any" }, ...list.map(({ name }) => ({ id: name, name }))]}
        />
      ))}
    </div>
  );
}

/** Prompts to begin with, as the site's files have them. */
function Templates({ change }: { change: Props["change"] }) {
  const { data } = usePresets();
  const templates = Object.entries(data?.categories ?? {}).flatMap(([category, list]) =>
    list.map((template) => ({
      ...template,
      id: `${category}/${template.name}`,
      label: `${category}: ${template.name}`,
    })),
  );
  if (!templates.length) return null;
  return (
    <Choice
      label="Begin with"
      value=""
      placeholder="An idea of this site"
      onChange={(id) => {
        const chosen = templates.find((template) => template.id === id);
        if (chosen) change({ prompt: chosen.prompt, negativePrompt: chosen.negative_prompt });
      }}
      options={templates.map(({ id, label }) => ({ id, name: label }))}
    />
  );
}

const words = (text: string) => text.split(/\s+/).filter(Boolean).length;
