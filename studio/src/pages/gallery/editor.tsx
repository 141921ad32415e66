// Crop, turn and colours of a picture. The preview is drawn by the browser with the filters that the stack applies, too.
import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { local, request } from "../../api/client";
import { type Generation, queryClient } from "../../api/queries";
import { Button, Dialog, NumberInput, Range, Segments, Toggle } from "../../ui/controls";
import { capitalised } from "../../ui/format";
import { toast, toastError } from "../../ui/toasts";
import { type Box, CropBox } from "./crop_box";

const UNCHANGED = {
  crop: null as Box | null,
  quarters: 0,
  straighten: 0,
  flip_horizontal: false,
  flip_vertical: false,
  width: null as number | null,
  brightness: 1,
  contrast: 1,
  saturation: 1,
};
type Edit = typeof UNCHANGED;
const COLOURS = ["brightness", "contrast", "saturation"] as const;

/** What the stack is asked for: what differs from the picture. */
function bodyOf({ quarters, straighten, ...edit }: Edit) {
  const rotate = (quarters * 90 + straighten) % 360;
  const changed = Object.entries(edit).filter(([name, value]) => value !== UNCHANGED[name as keyof Edit]);
  return { ...Object.fromEntries(changed), ...(rotate ? { rotate } : {}) };
}

export function PictureEditor({ generation, close }: { generation: Generation; close: () => void }) {
  const [step, setStep] = useState("crop");
  const [edit, setEdit] = useState<Edit>(UNCHANGED);
  const [first] = generation.results;
  const save = useMutation({
    mutationFn: () => request<Generation>("POST", `/v1/results/${first?.id}/edit`, { body: bodyOf(edit) }),
    onSuccess: () => {
      queryClient.invalidateQueries({ queryKey: ["gallery"] });
      toast("success", "Kept as a new picture; the original is unchanged");
      close();
    },
    onError: toastError,
  });
  if (!first) return null;
  const url = local(first.image_url);
  const size = { width: Number(first.metadata.width), height: Number(first.metadata.height) };
  const change = (next: Partial<Edit>) => setEdit((before) => ({ ...before, ...next }));
  const hasChanges = Object.keys(bodyOf(edit)).length > 0;
  return (
    <Dialog title="Edit" isOpen onClose={close} wide>
      <div className="viewer">
        {step === "crop" ? (
          <CropBox url={url} size={size} box={edit.crop} setBox={(crop) => change({ crop })} />
        ) : (
          <div className="frame large">
            <img src={url} alt="Preview" style={previewOf(edit, size)} />
          </div>
        )}
        <div className="stack">
          <Segments
            label="Step"
            value={step}
            onChange={setStep}
            options={[
              { id: "crop", name: "Crop" },
              { id: "turn", name: "Turn" },
              { id: "colours", name: "Colours" },
            ]}
          />
          {step === "turn" && (
            <>
              <div className="actions">
                <Button onPress={() => change({ quarters: (edit.quarters + 3) % 4 })}>Turn left</Button>
                <Button onPress={() => change({ quarters: (edit.quarters + 1) % 4 })}>Turn right</Button>
              </div>
              <Range
                label="Straighten"
                value={edit.straighten}
                onChange={(straighten) => change({ straighten })}
                min={-45}
                max={45}
                step={0.5}
                shown={`${edit.straighten}°`}
              />
              <Toggle
                label="Mirror left and right"
                value={edit.flip_horizontal}
                onChange={(flip_horizontal) => change({ flip_horizontal })}
              />
              <Toggle
                label="Mirror top and bottom"
                value={edit.flip_vertical}
                onChange={(flip_vertical) => change({ flip_vertical })}
              />
              <NumberInput
                label="Width of the result, px"
                value={edit.width}
                onChange={(width) => change({ width })}
                min={1}
                placeholder="as it is"
              />
            </>
          )}
          {step === "colours" &&
            COLOURS.map((name) => (
              <Range
                key={name}
                label={capitalised(name)}
                value={edit[name]}
                onChange={(value) => change({ [name]: value })}
                min={0}
                max={2}
                step={0.05}
                shown={`${Math.round(edit[name] * 100)} %`}
              />
            ))}
          <div className="actions">
            <Button primary onPress={() => save.mutate()} isDisabled={!hasChanges || save.isPending}>
              {save.isPending ? "Saving" : "Save as a new picture"}
            </Button>
            <Button quiet onPress={() => setEdit(UNCHANGED)} isDisabled={!hasChanges}>
              Undo all
            </Button>
          </div>
        </div>
      </div>
    </Dialog>
  );
}

function previewOf(edit: Edit, { width, height }: { width: number; height: number }) {
  const kept = edit.crop ?? { left: 0, top: 0, width, height };
  const sides = [kept.top, width - kept.left - kept.width, height - kept.top - kept.height, kept.left];
  const wholes = [height, width, height, width];
  const inset = sides.map((side, index) => `${(100 * side) / (wholes[index] ?? 1)}%`).join(" ");
  const mirrored = `scale(${edit.flip_horizontal ? -1 : 1}, ${edit.flip_vertical ? -1 : 1})`;
  return {
    clipPath: `inset(${inset})`,
    transform: `${mirrored} rotate(${edit.quarters * 90 + edit.straighten}deg)`,
    filter: `brightness(${edit.brightness}) contrast(${edit.contrast}) saturate(${edit.saturation})`,
    objectFit: "contain" as const,
  };
}
