import { useState } from "react";
import { own, request, type Schemas, send } from "../../api/client";
import { queryClient } from "../../api/queries";
import { Button, Range, Section, Text } from "../../ui/controls";
import { RemoveButton } from "../../ui/remove_button";
import { toast, toastError } from "../../ui/toasts";
import { type Edit, type ReferenceUse, referenceOf } from "./guides";
import { isSent, pictureOfReference } from "./picture";
import { PictureChooser } from "./picture_chooser";

interface Props {
  uses: ReferenceUse[];
  most: number;
  mostScale: number;
  /** Of style_scale and content_scale, those that the model has. */
  scales: string[];
  edit: Edit<ReferenceUse>;
}

/** Pictures of what is drawn again. */
export function ReferenceList({ uses, most, mostScale, scales, edit }: Props) {
  return (
    <div className="stack">
      <ul className="list">
        {uses.map((use) => (
          <Reference
            key={use.key}
            use={use}
            mostScale={mostScale}
            scales={scales}
            change={(next) => edit((now) => now.map((one) => (one.key === use.key ? { ...one, ...next } : one)))}
            remove={() => edit((now) => now.filter(({ key }) => key !== use.key))}
          />
        ))}
      </ul>
      {uses.length < most ? (
        <PictureChooser
          label="A reference"
          text="Drop a picture of who, what or which style is to be drawn again."
          onPick={(picture) => edit((now) => [...now, referenceOf(picture)])}
        />
      ) : (
        <p className="muted">A drawing takes {most} references at most.</p>
      )}
    </div>
  );
}

interface ReferenceProps extends Pick<Props, "mostScale" | "scales"> {
  use: ReferenceUse;
  change: (change: Partial<ReferenceUse>) => void;
  remove: () => void;
}

const MOST_NAME = 100;

function Reference({ use, mostScale, scales, change, remove }: ReferenceProps) {
  const { picture } = use;
  const [isKeeping, setKeeping] = useState(false);
  const name = picture.name.trim() || "reference";
  const keep = async () => {
    setKeeping(true);
    try {
      change({ picture: pictureOfReference(await kept(picture.url, name)) });
      toast("success", "Kept among the references");
    } catch (error) {
      toastError(error);
    } finally {
      setKeeping(false);
    }
  };
  const scale = { min: 0, max: mostScale, step: 0.05 };
  return (
    <li className="guide">
      <div className="guide-head">
        <img src={picture.url} alt={`Reference: ${name}`} className="thumbnail" />
        <div className="grow">
          <Text
            label="Name"
            value={picture.name}
            onChange={(next) => change({ picture: { ...picture, name: next } })}
            maxLength={MOST_NAME}
            placeholder="Who or what it shows"
          />
        </div>
        <RemoveButton label={`Remove ${name}`} onPress={remove} />
      </div>
      <Range label="Weight" value={use.weight} onChange={(weight) => change({ weight })} {...scale} />
      <Section title="Style and layout">
        <div className="stack">
          {scales.includes("style_scale") && (
            <Range
              label="Style"
              value={use.styleScale ?? use.scale}
              onChange={(styleScale) => change({ styleScale })}
              {...scale}
            />
          )}
          {scales.includes("content_scale") && (
            <Range
              label="Layout"
              value={use.contentScale ?? use.scale}
              onChange={(contentScale) => change({ contentScale })}
              {...scale}
            />
          )}
          <Range
            label={scales.length ? "Everything else" : "Scale"}
            value={use.scale}
            onChange={(next) => change({ scale: next })}
            {...scale}
          />
        </div>
      </Section>
      {!picture.referenceId && (
        <Button onPress={keep} isDisabled={isKeeping || !picture.name.trim()}>
          Keep among the references
        </Button>
      )}
    </li>
  );
}

/** Stores a picture under the name of its subject. */
async function kept(url: string, subject: string): Promise<Schemas["ReferenceInfo"]> {
  const form = new FormData();
  if (isSent(url)) form.set("url", url);
  else form.set("image", await (await send("GET", url)).blob(), "reference");
  form.set("subject_name", subject);
  const user = own().user_id;
  if (user) form.set("user_id", String(user));
  const stored = await request<Schemas["ReferenceInfo"]>("POST", "/api/references", { form });
  queryClient.invalidateQueries({ queryKey: ["references"] });
  return stored;
}
