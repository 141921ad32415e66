// How a bandit chooses for this user: its algorithm, what it would choose now, and why.
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { type Chosen, chooseFor, setChooser, useInsights, usePreferences } from "../../api/mind";
import { Button, Choice, Segments, Text } from "../../ui/controls";
import { Fact } from "../../ui/facts";
import { Skeletons } from "../../ui/feedback";
import { percent } from "../../ui/format";
import { toastError } from "../../ui/toasts";
import { currentSettings } from "../create/settings";
import { take } from "./take";

const ALGORITHMS = [
  { id: "thompson", name: "Thompson sampling" },
  { id: "ucb", name: "Upper confidence bound" },
  { id: "epsilon_greedy", name: "Epsilon-greedy" },
];
const RATES = [0, 0.05, 0.1, 0.2, 0.5, 1];
const DIMENSIONS = ["model", "style", "sampler", "palette"] as const;
type Dimension = (typeof DIMENSIONS)[number];

export function Chooser() {
  const { data } = usePreferences();
  if (!data) return <Skeletons count={1} className="line" />;
  const set = (algorithm: string, epsilon: number) => setChooser(algorithm, epsilon).catch(toastError);
  const rates = [...new Set([...RATES, data.epsilon])].sort((one, other) => one - other);
  return (
    <section className="card" aria-labelledby="chooser">
      <h2 id="chooser">How it is chosen for you</h2>
      <div className="row">
        <Choice
          label="Algorithm"
          value={data.algorithm}
          onChange={(algorithm) => set(algorithm, data.epsilon)}
          options={ALGORITHMS}
        />
        {data.algorithm === "epsilon_greedy" && (
          <Choice
            label="Exploration"
            value={String(data.epsilon)}
            onChange={(rate) => set(data.algorithm, Number(rate))}
            options={rates.map((rate) => ({ id: String(rate), name: `${Math.round(rate * 100)} %` }))}
          />
        )}
      </div>
      <Bounds />
      <Ask />
    </section>
  );
}

/** Upper confidence bounds of the models: what was tried little has a high one. */
function Bounds() {
  const { data } = useInsights();
  const bounds = Object.entries(data?.ucb ?? {});
  if (!bounds.length) return null;
  return (
    <dl className="facts columns" aria-label="Upper confidence bounds">
      {bounds.map(([name, bound]) => (
        <Fact key={name} name={name} value={bound === null ? "not tried yet" : `at most ${bound.toFixed(2)}`} />
      ))}
    </dl>
  );
}

/** A choice for a prompt, and the styles that are likely to please with it. */
function Ask() {
  const [prompt, setPrompt] = useState(() => currentSettings().prompt);
  const [dimension, setDimension] = useState<Dimension>("model");
  const [chosen, setChosen] = useState<Chosen>();
  const [asked, setAsked] = useState("");
  const { data } = useInsights(asked);
  const navigate = useNavigate();
  const choose = async () => {
    try {
      setChosen(await chooseFor(dimension, prompt.trim()));
      setAsked(prompt.trim());
    } catch (error) {
      toastError(error);
    }
  };
  const use = (name: string) => {
    take(dimension, name);
    navigate({ to: "/" });
  };
  const predicted = asked ? (data?.predicted ?? []).slice(0, 6) : [];
  return (
    <div className="stack">
      <Text label="For the prompt" value={prompt} onChange={setPrompt} maxLength={2000} placeholder="Any prompt" />
      <div className="row">
        <Segments
          label="Choose a"
          value={dimension}
          onChange={(next) => setDimension(next as Dimension)}
          options={DIMENSIONS.map((id) => ({ id, name: id }))}
        />
        <Button onPress={choose}>Choose one</Button>
      </div>
      {chosen && (
        <p role="status">
          {chosen.name ? (
            <>
              <span className="chip">{chosen.dimension}</span> <strong>{chosen.name}</strong>{" "}
              <span className="muted">
                {chosen.reason}; {chosen.explored ? "tried to learn about it" : "the best so far"},{" "}
                {percent(chosen.confidence)} sure; expected reward {chosen.expectedReward.toFixed(2)}
              </span>{" "}
              {chosen.dimension === dimension && (
                <Button quiet label={`Use the chosen ${chosen.name}`} onPress={() => use(chosen.name)}>
                  Use
                </Button>
              )}
            </>
          ) : (
            chosen.reason
          )}
        </p>
      )}
      {predicted.length > 0 && (
        <dl className="scores">
          <dt className="muted">Styles that are likely to please with it</dt>
          {predicted.map(({ style, probability }) => (
            <dd key={style}>
              <span className="ellipsis">{style}</span>
              <meter min={0} max={1} value={probability} aria-label={`${style}: likely to please`} />
              <span className="muted">{percent(probability)}</span>
            </dd>
          ))}
        </dl>
      )}
    </div>
  );
}
