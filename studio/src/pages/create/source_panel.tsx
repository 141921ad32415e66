import { lazy, Suspense, useState } from "react";
import { useOffer } from "../../api/offer";
import { Button, Choice, Dialog, Range, Section, Toggle } from "../../ui/controls";
import { Skeletons } from "../../ui/feedback";
import { MaskEditor } from "./mask_editor";
import { PictureChooser } from "./picture_chooser";
import { changeUse, SIDES, takeSource, type Use, useSource } from "./source";

const OutpaintEditor = lazy(() => import("./outpaint_editor").then((module) => ({ default: module.OutpaintEditor })));

/** A picture to begin from, how much of it stays, what of it is drawn anew, and where it grows. */
export function SourcePanel() {
  const { picture, use } = useSource();
  const offer = useOffer();
  const [painting, setPainting] = useState(false);
  if (!picture) {
    return (
      <PictureChooser label="A picture to begin from" text="Drop a picture to draw from it." onPick={takeSource} />
    );
  }
  const grows = SIDES.some((side) => use.outpaint[side] > 0);
  return (
    <div className="stack">
      <div className="frame source">
        <img src={picture.url} alt="Drawn from this" />
        {use.mask && <img src={use.mask} alt="Mask: what is white is drawn anew" className="mask" />}
      </div>
      <div className="actions">
        <Button onPress={() => setPainting(true)}>{use.mask ? "Change the mask" : "Paint a mask"}</Button>
        {use.mask && <Button onPress={() => changeUse({ mask: null })}>No mask</Button>}
        <Button quiet onPress={() => takeSource(null)}>
          Remove
        </Button>
      </div>
      {!grows && (
        <Range
          label="Change"
          value={use.strength}
          onChange={(strength) => changeUse({ strength })}
          min={0.05}
          max={1}
          step={0.05}
          shown={`${Math.round(use.strength * 100)} %`}
        />
      )}
      {use.mask && <MaskSettings use={use} canCrop={!grows} />}
      <Section title="Grow the picture" isOpen={grows}>
        <Suspense fallback={<Skeletons count={1} />}>
          {offer.data && (
            <OutpaintEditor
              picture={picture}
              margins={use.outpaint}
              change={(outpaint) => changeUse({ outpaint })}
              most={offer.data.limits.max_margin_px}
              mostSide={offer.data.limits.max_canvas_px}
            />
          )}
        </Suspense>
      </Section>
      <Dialog title="What is to be drawn anew" isOpen={painting} onClose={() => setPainting(false)} wide>
        <MaskEditor
          size={picture}
          backdrop={picture.url}
          mask={use.mask}
          feather={use.maskBlur}
          label="Mask: paint what is to be drawn anew"
          cancel={() => setPainting(false)}
          done={(mask) => {
            changeUse({ mask, strength: 1 });
            setPainting(false);
          }}
        >
          <Feather use={use} />
        </MaskEditor>
      </Dialog>
    </div>
  );
}

function MaskSettings({ use, canCrop }: { use: Use; canCrop: boolean }) {
  const offer = useOffer();
  const fills = offer.data?.mask_fills ?? [];
  return (
    <>
      <Feather use={use} />
      <Choice
        label="Under the mask, at first"
        value={use.maskFill}
        onChange={(maskFill) => changeUse({ maskFill })}
        options={fills.map((id) => ({ id, name: id.replaceAll("_", " ") }))}
      />
      {canCrop && (
        <Toggle
          label="Draw the masked part alone, at full size"
          value={use.maskCrop}
          onChange={(maskCrop) => changeUse({ maskCrop })}
        />
      )}
    </>
  );
}

const Feather = ({ use }: { use: Use }) => (
  <Range
    label="Feather"
    value={use.maskBlur}
    onChange={(maskBlur) => changeUse({ maskBlur })}
    min={0}
    max={64}
    shown={`${use.maskBlur} px`}
  />
);
