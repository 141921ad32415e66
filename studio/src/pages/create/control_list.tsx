import { useQuery } from "@tanstack/react-query";
import { send } from "../../api/client";
import { Between, Choice, Range, Segments } from "../../ui/controls";
import { Failed } from "../../ui/feedback";
import { RemoveButton } from "../../ui/remove_button";
import { type ControlUse, controlOf, type Edit } from "./guides";
import { dataUrl, namedPicture } from "./picture";
import { PictureChooser } from "./picture_chooser";

interface Props {
  uses: ControlUse[];
  /** The model's ControlNets. */
  types: string[];
  preprocessors: string[];
  most: number;
  mostScale: number;
  /** Of the drawing. */
  size: { width: number; height: number };
  edit: Edit<ControlUse>;
}

/** Pictures whose lines, edges or colours the drawing follows. */
export function ControlList({ uses, types, preprocessors, most, mostScale, size, edit }: Props) {
  const first = types[0];
  const fitting = uses.filter(({ type }) => types.includes(type));
  return (
    <div className="stack">
      <ul className="list">
        {fitting.map((use) => (
          <Control
            key={use.key}
            use={use}
            types={types}
            preprocessors={preprocessors}
            mostScale={mostScale}
            size={size}
            change={(next) => edit((now) => now.map((one) => (one.key === use.key ? { ...one, ...next } : one)))}
            remove={() => edit((now) => now.filter(({ key }) => key !== use.key))}
          />
        ))}
      </ul>
      {fitting.length < most && first ? (
        <PictureChooser
          label="A control picture"
          text="Drop a picture whose lines, edges or colours the drawing is to follow."
          onPick={(picture) => edit((now) => [...now, controlOf(picture, first, preprocessors)])}
        />
      ) : (
        <p className="muted">A drawing takes {most} control pictures at most.</p>
      )}
    </div>
  );
}

interface ControlProps extends Omit<Props, "uses" | "most" | "edit"> {
  use: ControlUse;
  change: (change: Partial<ControlUse>) => void;
  remove: () => void;
}

const LEAST_SPAN = 0.05;
const percent = (share: number) => `${Math.round(share * 100)} %`;

function Control({ use, types, preprocessors, mostScale, size, change, remove }: ControlProps) {
  const name = use.picture.name || use.type;
  return (
    <li className="guide">
      <div className="row spread">
        <strong className="ellipsis">{name}</strong>
        <RemoveButton label={`Remove ${name}`} onPress={remove} />
      </div>
      <div className="pair">
        <figure>
          <img src={use.picture.url} alt="Control: as it is" className="thumbnail wide" />
          <figcaption className="muted">Picture</figcaption>
        </figure>
        <Followed use={use} size={size} />
      </div>
      <div className="row">
        <Choice
          label="Type"
          value={use.type}
          onChange={(type) => change({ type, preprocessor: preprocessors.includes(type) ? type : "none" })}
          options={types.map((id) => ({ id, name: id }))}
        />
        <Choice
          label="Detect"
          value={use.preprocessor}
          onChange={(preprocessor) => change({ preprocessor })}
          options={preprocessors.map((id) => ({ id, name: id === "none" ? "nothing" : id }))}
        />
      </div>
      <Range
        label="Scale"
        value={use.scale}
        onChange={(scale) => change({ scale })}
        min={0}
        max={mostScale}
        step={0.05}
      />
      <Between
        label="Steps"
        value={[use.start, use.end]}
        onChange={([start, end]) => change({ start, end })}
        min={0}
        max={1}
        step={0.05}
        least={LEAST_SPAN}
        shown={`${percent(use.start)} to ${percent(use.end)}`}
      />
      <Segments
        label="How the picture becomes the drawing's shape"
        value={use.fit}
        onChange={(fit) => change({ fit })}
        options={["crop", "pad", "stretch"].map((id) => ({ id, name: id }))}
      />
    </li>
  );
}

const MOST_SHOWN_PX = 2048;

/** What the ControlNet follows. */
function Followed({ use, size }: { use: ControlUse; size: { width: number; height: number } }) {
  const { key, picture, preprocessor, fit } = use;
  const found = useQuery({
    queryKey: ["control", key, preprocessor, fit, size],
    queryFn: async ({ signal }) => {
      const scale = Math.min(1, MOST_SHOWN_PX / Math.max(size.width, size.height));
      const shown = { width: Math.round(size.width * scale), height: Math.round(size.height * scale) };
      const body = { ...(await namedPicture(picture)), preprocessor, fit, ...shown };
      return dataUrl(await (await send("POST", "/api/illustrations/controls/preview", { body, signal })).blob());
    },
    staleTime: Number.POSITIVE_INFINITY,
    retry: false,
  });
  if (found.isError) return <Failed error={found.error} retry={found.refetch} />;
  return (
    <figure>
      {found.data ? (
        <img src={found.data} alt={`Control: followed, ${preprocessor}`} className="thumbnail wide" />
      ) : (
        <div className="skeleton thumbnail wide" />
      )}
      <figcaption className="muted">Followed</figcaption>
    </figure>
  );
}
