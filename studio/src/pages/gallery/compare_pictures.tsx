import { useState } from "react";
import { local } from "../../api/client";
import type { Generation } from "../../api/queries";
import { Button, Dialog } from "../../ui/controls";
import { Fact } from "../../ui/facts";
import { save as saveFile } from "../../ui/save";
import { factsOf } from "./facts";

/** Two to four pictures side by side, with what differs, a vote, and the comparison as a file. */
export function ComparePictures({
  generations,
  isOpen,
  close,
}: {
  generations: Generation[];
  isOpen: boolean;
  close: () => void;
}) {
  const [vote, setVote] = useState<string>();
  const save = () => {
    const compared = generations.map((one) => ({
      id: one.id,
      prompt: one.prompt,
      ...factsOf(one),
      chosen: one.id === vote,
    }));
    saveFile(new Blob([JSON.stringify(compared, null, 2)], { type: "application/json" }), "comparison.json");
  };
  return (
    <Dialog title="Compare" isOpen={isOpen} onClose={close} wide>
      <ul className="columns-of">
        {generations.slice(0, 4).map((one) => (
          <li key={one.id} className={vote === one.id ? "tile chosen" : "tile"}>
            <div className="frame">
              {one.results[0] && <img src={local(one.results[0].image_url)} alt={one.prompt} />}
            </div>
            <p className="caption">{one.prompt}</p>
            <dl className="facts">
              {Object.entries(factsOf(one)).map(([name, value]) => (
                <Fact key={name} name={name} value={value} />
              ))}
            </dl>
            <Button pressed={vote === one.id} onPress={() => setVote(one.id)}>
              {vote === one.id ? "The better one" : "This one is better"}
            </Button>
          </li>
        ))}
      </ul>
      <Button onPress={save}>Save the comparison</Button>
    </Dialog>
  );
}
