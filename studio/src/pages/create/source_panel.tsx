import { useState } from "react";
import { useOffer } from "../../api/offer";
import { Button, Choice, Dialog, Drop, NumberInput, Range, Toggle } from "../../ui/controls";
import { toastError } from "../../ui/toasts";
import { MaskEditor } from "./mask_editor";
import { SIDES, type Source, sourceOfFile, type Use } from "./source";

interface Props {
  source: Source | undefined;
  use: Use;
  take: (source: Source | undefined) => void;
  change: (change: Partial<Use>) => void;
}

/** A picture to begin from, how much of it stays, what of it is drawn anew, and where it grows. */
export function SourcePanel({ source, use, take, change }: Props) {
  const [painting, setPainting] = useState(false);
  if (!source) {
    return (
      <Drop
        label="A picture to begin from"
        accept={["image/png", "image/jpeg", "image/webp"]}
        onFiles={([file]) => {
          if (file) sourceOfFile(file).then(take, toastError);
        }}
      >
        <p>Drop a picture to draw from it.</p>
      </Drop>
    );
  }
  return (
    <div className="stack">
      <div className="frame source">
        <img src={source.url} alt="Drawn from this" />
        {use.mask && <img src={use.mask} alt="Mask: what is white is drawn anew" className="mask" />}
      </div>
      <div className="actions">
        <Button onPress={() => setPainting(true)}>{use.mask ? "Change the mask" : "Paint a mask"}</Button>
        {use.mask && <Button onPress={() => change({ mask: null })}>No mask</Button>}
        <Button quiet onPress={() => take(undefined)}>
          Remove
        </Button>
      </div>
      <Range
        label="Change"
        value={use.strength}
        onChange={(strength) => change({ strength })}
        min={0.05}
        max={1}
        step={0.05}
        shown={`${Math.round(use.strength * 100)} %`}
      />
      {use.mask && <MaskSettings use={use} change={change} />}
      <details className="more">
        <summary>Grow the picture</summary>
        <div className="row">
          {SIDES.map((side) => (
            <NumberInput
              key={side}
              label={side}
              value={use.outpaint[side]}
              onChange={(pixels) => change({ outpaint: { ...use.outpaint, [side]: pixels ?? 0 } })}
              min={0}
              max={1024}
              step={8}
            />
          ))}
        </div>
      </details>
      <Dialog title="What is to be drawn anew" isOpen={painting} onClose={() => setPainting(false)} wide>
        <MaskEditor
          source={source}
          mask={use.mask}
          done={(mask) => {
            change({ mask, strength: 1 });
            setPainting(false);
          }}
        />
      </Dialog>
    </div>
  );
}

function MaskSettings({ use, change }: Pick<Props, "use" | "change">) {
  const offer = useOffer();
  const fills = offer.data?.mask_fills ?? [];
  return (
    <>
      <Range
        label="Feather"
        value={use.maskBlur}
        onChange={(maskBlur) => change({ maskBlur })}
        min={0}
        max={64}
        shown={`${use.maskBlur} px`}
      />
      <Choice
        label="Under the mask, at first"
        value={use.maskFill}
        onChange={(maskFill) => change({ maskFill })}
        options={fills.map((id) => ({ id, name: id.replaceAll("_", " ") }))}
      />
      <Toggle
        label="Draw the masked part alone, at full size"
        value={use.maskCrop}
        onChange={(maskCrop) => change({ maskCrop })}
      />
    </>
  );
}
