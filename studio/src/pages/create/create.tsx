// Prompt to picture. Each drawing is a durable job: it survives this page, and shows its previews while it is drawn.
import { lazy, Suspense, useRef, useState } from "react";
import { local } from "../../api/client";
import { keepPrompt } from "../../api/mind";
import { useOffer } from "../../api/offer";
import { useDraw, useLoras } from "../../api/queries";
import { Section } from "../../ui/controls";
import { Empty, Failed, Skeletons } from "../../ui/feedback";
import { useCtrlEnter } from "../../ui/shortcuts";
import { toast, toastError } from "../../ui/toasts";
import "./create.css";
import { Drawing } from "./drawing";
import { DrawingsBar } from "./drawings_bar";
import { Form } from "./form";
import { LayoutPanel } from "./layout_panel";
import { drawnSize, familyOf, jobOf, offered, randomSeed, type Settings, useSettings } from "./settings";
import { type Source, useSource } from "./source";
import { SourcePanel } from "./source_panel";

const GuideSections = lazy(() => import("./guide_sections").then((module) => ({ default: module.GuideSections })));

const KEPT = "create.drawings";
const MOST_KEPT = 48;

export function Create() {
  const offer = useOffer();
  const [all, change] = useSettings();
  const [drawings, setDrawings] = useState<string[]>(() => JSON.parse(sessionStorage.getItem(KEPT) ?? "[]"));
  const [latest, setLatest] = useState<string>();
  const add = useDraw();
  /** From the press on, while pictures are still read, so that one press sends one drawing. */
  const isSending = useRef(false);
  const source = useSource();
  const family = familyOf(all, offer.data?.families ?? []);
  const takesLoras = Boolean(family?.takes_loras && offer.data?.keeps);
  const loras = useLoras(takesLoras);
  const settings = offered(all, family, loras.data?.items);

  const keep = (change: (before: string[]) => string[]) =>
    setDrawings((before) => {
      const after = change(before).slice(0, MOST_KEPT);
      sessionStorage.setItem(KEPT, JSON.stringify(after));
      return after;
    });
  const show = (ids: string[]) => keep((before) => [...ids, ...before]);
  const clear = () => {
    keep(() => []);
    const restore = () => keep((since) => [...since, ...drawings]);
    toast("info", "Cleared; the gallery still has them", { action: { label: "Undo", run: restore } });
  };
  const send = async (own: Settings, from: Source): Promise<number | undefined> => {
    const seed = own.seed ?? randomSeed();
    try {
      show(await add.mutateAsync(await jobOf(own, seed, from)));
      return seed;
    } catch (error) {
      toastError(error);
    }
  };
  const draw = async () => {
    if (!settings.prompt.trim() || isSending.current) return;
    isSending.current = true;
    const seed = await send(settings, source);
    isSending.current = false;
    if (seed === undefined) return;
    change({ seed: settings.lockSeed ? seed : null });
    if (offer.data?.keeps) keepPrompt(settings.prompt.trim());
  };
  useCtrlEnter(draw);

  if (offer.isError) return <Failed error={offer.error} retry={offer.refetch} />;
  const size = family ? drawnSize(settings, family, source) : undefined;
  return (
    <div className="split">
      <section className="panel" aria-labelledby="create">
        <h1 id="create">Create</h1>
        {offer.data ? (
          <Form
            sections={
              family &&
              size && (
                <>
                  {family.takes_pictures && (
                    <Section title="From a picture" count={source.picture ? 1 : 0} isOpen={source.picture !== null}>
                      <SourcePanel />
                    </Section>
                  )}
                  <Section
                    title="Layout"
                    count={settings.layout.parts.length}
                    isOpen={settings.layout.parts.length > 0}
                  >
                    <LayoutPanel
                      settings={settings}
                      change={change}
                      offer={offer.data}
                      size={size}
                      backdrop={source.picture?.url ?? latest}
                    />
                  </Section>
                  {(takesLoras || family.takes_references || family.controls.length > 0) && (
                    <Suspense>
                      <GuideSections
                        settings={settings}
                        family={family}
                        offer={offer.data}
                        loras={loras.data?.items ?? []}
                        size={size}
                      />
                    </Suspense>
                  )}
                </>
              )
            }
            settings={settings}
            change={change}
            families={offer.data.families}
            limits={offer.data.limits}
            draw={draw}
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
              Describe one and press Draw, or <kbd>Ctrl Enter</kbd>. You see it while it is drawn, and every picture is
              kept in the gallery.
            </p>
          </Empty>
        )}
        {drawings.length > 1 && <DrawingsBar drawings={drawings} clear={clear} />}
        <ul className="grid">
          {drawings.map(
            (id, index) =>
              offer.data && (
                <Drawing
                  key={id}
                  id={id}
                  offer={offer.data}
                  send={send}
                  show={show}
                  shown={index === 0 ? (url) => setLatest(local(url)) : undefined}
                  remove={() => keep((before) => before.filter((other) => other !== id))}
                />
              ),
          )}
        </ul>
      </section>
    </div>
  );
}
