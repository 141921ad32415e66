// LoRAs, references and control pictures, as far as the chosen model takes them.
import type { Schemas } from "../../api/client";
import { Section } from "../../ui/controls";
import { ControlList } from "./control_list";
import { LoraList } from "./lora_list";
import { ReferenceList } from "./reference_list";
import { editGuides, type Family, type Settings } from "./settings";

interface Props {
  /** Without what the model does not take. */
  settings: Settings;
  family: Family;
  offer: Schemas["OfferResponse"];
  loras: Schemas["LoraItem"][];
  size: { width: number; height: number };
}

export function GuideSections({ settings, family, offer, loras, size }: Props) {
  const { limits } = offer;
  const { references, controls } = settings;
  return (
    <>
      {family.takes_loras && offer.keeps && (
        <Section title="LoRAs" count={settings.loras.length} isOpen={settings.loras.length > 0}>
          <LoraList
            family={family.name}
            loras={loras}
            uses={settings.loras}
            most={limits.max_loras}
            mostWeight={limits.max_lora_weight}
            edit={(change) => editGuides("loras", change)}
          />
        </Section>
      )}
      {family.takes_references && (
        <Section title="References" count={references.length} isOpen={references.length > 0}>
          <ReferenceList
            uses={references}
            most={limits.max_guides}
            mostScale={limits.max_scale}
            scales={family.reference_scales}
            edit={(change) => editGuides("references", change)}
          />
        </Section>
      )}
      {family.controls.length > 0 && (
        <Section title="Control pictures" count={controls.length} isOpen={controls.length > 0}>
          <ControlList
            uses={controls}
            types={family.controls}
            preprocessors={offer.preprocessors}
            most={limits.max_guides}
            mostScale={limits.max_scale}
            size={size}
            edit={(change) => editGuides("controls", change)}
          />
        </Section>
      )}
    </>
  );
}
