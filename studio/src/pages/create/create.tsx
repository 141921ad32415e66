// Prompt to picture. Each drawing is a durable job: it survives this page, and shows its previews while it is drawn.
import { useEffect, useState } from "react";
import { local } from "../../api/client";
import { useOffer } from "../../api/offer";
import { useDraw } from "../../api/queries";
import { Empty, Failed, Skeletons } from "../../ui/feedback";
import { useCtrlEnter } from "../../ui/shortcuts";
import { toastError } from "../../ui/toasts";
import { Drawing } from "./drawing";
import { Form } from "./form";
import { jobOf, randomSeed, type Settings, useSettings } from "./settings";
import { inputOf, keptSource, sourceOfResult, useSource } from "./source";
import { SourcePanel } from "./source_panel";

const KEPT = "create.drawings";
const MOST_KEPT = 48;

export function Create() {
  const offer = useOffer();
  const [settings, change] = useSettings();
  const [drawings, setDrawings] = useState<string[]>(() => JSON.parse(sessionStorage.getItem(KEPT) ?? "[]"));
  const add = useDraw();
  const from = useSource();
  const { take: begin } = from;
  // biome-ignore lint/correctness/useExhaustiveDependencies: once, when the page opens
  useEffect(() => {
    keptSource().then((kept) => kept && begin(kept), toastError);
  }, []);

  const show = (ids: string[]) => {
    setDrawings((before) => {
      const after = [...ids, ...before].slice(0, MOST_KEPT);
      sessionStorage.setItem(KEPT, JSON.stringify(after));
      return after;
    });
  };
  const draw = async (own: Settings = settings) => {
    const seed = own.seed !== null ? own.seed : randomSeed();
    try {
      show(await add.mutateAsync(jobOf(own, seed, inputOf(from.source, from.use))));
      change({ seed: own.lockSeed ? seed : null });
    } catch (error) {
      toastError(error);
    }
  };
  useCtrlEnter(() => {
    if (settings.prompt.trim()) draw();
  });

  if (offer.isError) return <Failed error={offer.error} retry={offer.refetch} />;
  return (
    <div className="split">
      <section className="panel" aria-labelledby="create">
        <h1 id="create">Create</h1>
        {offer.data ? (
          <Form
            source={<SourcePanel {...from} />}
            hasSource={from.source !== undefined}
            settings={settings}
            change={change}
            families={offer.data.families}
            limits={offer.data.limits}
            draw={() => draw()}
            isDrawing={add.isPending}
          />
        ) : (
          <Skeletons count={4} className="line" />
        )}
      </section>
      <section className="canvas" aria-label="Pictures">
        {drawings.length === 0 && (
          <Empty title="Your pictures appear here">
            <p>
              Describe one on the left and press <kbd>Ctrl Enter</kbd>. You see it while it is drawn, and every picture
              is kept in the gallery.
            </p>
          </Empty>
        )}
        <ul className="grid">
          {drawings.map((id) => (
            <Drawing
              key={id}
              id={id}
              take={change}
              vary={(taken) => draw({ ...settings, ...taken, seed: randomSeed(), lockSeed: false, count: 1 })}
              show={show}
              begin={(id, url) => sourceOfResult(id, local(url)).then(begin, toastError)}
              remove={() => setDrawings((before) => before.filter((other) => other !== id))}
            />
          ))}
        </ul>
      </section>
    </div>
  );
}
