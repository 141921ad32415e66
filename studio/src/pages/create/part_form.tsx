// The words of a region or a subject, its share of the drawing, its place among the layers.
import { Button, NumberInput, Range, Section, Text } from "../../ui/controls";
import type { Part } from "./layout";

interface Props {
  part: Part;
  isNew: boolean;
  mostFeather: number;
  change: (change: Partial<Part>) => void;
  remove: () => void;
  /** Paints the shape of a region. */
  paint: () => void;
  raise: (() => void) | undefined;
  lower: (() => void) | undefined;
}

export function PartForm({ part, isNew, mostFeather, change, remove, paint, raise, lower }: Props) {
  const isSubject = part.kind === "subject";
  return (
    <fieldset className="card part">
      <legend>{isSubject ? "Subject" : "Region"}</legend>
      {isSubject && (
        <Text
          label="Name"
          value={part.name}
          onChange={(name) => change({ name })}
          maxLength={64}
          placeholder="Ada"
          autoFocus={isNew}
        />
      )}
      <Text
        label="Prompt"
        rows={2}
        autoFocus={isNew && !isSubject}
        value={part.prompt}
        onChange={(prompt) => change({ prompt })}
        placeholder={isSubject ? part.name || "Its name" : "What is here"}
      />
      <Text
        label="Leave out"
        value={part.negativePrompt}
        onChange={(negativePrompt) => change({ negativePrompt })}
        placeholder="As in the whole drawing"
      />
      <Section title={isSubject ? "Share and feather" : "Share, feather, order"}>
        <div className="row">
          <Range
            label="Share"
            value={part.weight}
            onChange={(weight) => change({ weight })}
            min={0.05}
            max={1}
            step={0.05}
            shown={`${Math.round(part.weight * 100)} %`}
          />
          <NumberInput
            label="Feather, px"
            value={part.feather}
            onChange={(feather) => change({ feather })}
            min={0}
            max={mostFeather}
            step={1}
            placeholder="by itself"
          />
        </div>
        <div className="actions">
          {!isSubject && (
            <>
              <Button onPress={() => raise?.()} isDisabled={!raise}>
                Bring forward
              </Button>
              <Button onPress={() => lower?.()} isDisabled={!lower}>
                Send back
              </Button>
            </>
          )}
        </div>
      </Section>
      <div className="actions">
        {isSubject && part.box && <Button onPress={() => change({ box: null })}>Place it by its relationships</Button>}
        {!isSubject && <Button onPress={paint}>{part.mask ? "Change its shape" : "Paint its shape"}</Button>}
        <Button onPress={remove}>Remove</Button>
      </div>
    </fieldset>
  );
}
