// What the feedback says of one's taste, and what may please: see GET /api/recommendations.
import { useNavigate } from "@tanstack/react-router";
import { request } from "../../api/client";
import { type Recommendation, useInsights, usePreferences, useRecommendations, whose } from "../../api/mind";
import { queryClient } from "../../api/queries";
import { Button, LinkButton } from "../../ui/controls";
import { Empty, Failed, Skeletons } from "../../ui/feedback";
import { toast, toastError } from "../../ui/toasts";
import { Chooser } from "./chooser";
import { take } from "./take";

const LISTS = [
  { id: "forYou", name: "For you", none: "Rate, like or keep pictures as favourites, and this list begins." },
  { id: "trending", name: "Trending", none: "Nothing was liked here within a week." },
  { id: "similar", name: "Similar to what you liked", none: "Nobody has liked anything like it yet." },
  { id: "explore", name: "Explore", none: "You have tried everything." },
] as const;

export function ForYou() {
  const found = useRecommendations();
  const insights = useInsights();
  const preferences = usePreferences();
  const navigate = useNavigate();
  const use = (one: Recommendation) => {
    take(one.kind, one.name);
    navigate({ to: "/" });
  };
  if (found.isError) return <Failed error={found.error} retry={found.refetch} />;
  // All at once: what comes later would move what is there.
  if (found.isPending || insights.isPending || preferences.isPending) {
    return (
      <div className="page">
        <h1>For you</h1>
        <Skeletons count={4} className="line" />
      </div>
    );
  }
  return (
    <div className="page">
      <h1>For you</h1>
      {LISTS.map(({ id, name, none }) => (
        <section key={id} className="card" aria-labelledby={id}>
          <h2 id={id}>{name}</h2>
          {found.data[id].length === 0 && <p className="muted">{none}</p>}
          <ul className="list">
            {found.data[id].map((one) => (
              <li key={`${one.kind} ${one.name}`} className="row spread fixed">
                <span>
                  <span className="chip">{one.kind}</span> {one.name} <span className="muted">{one.reason}</span>
                </span>
                <Button quiet label={`Use ${one.kind} ${one.name}`} onPress={() => use(one)}>
                  Use
                </Button>
              </li>
            ))}
          </ul>
        </section>
      ))}
      <section className="card" aria-labelledby="insights">
        <h2 id="insights">What stands out</h2>
        {insights.data?.insights.length === 0 && <p className="muted">Too little feedback so far.</p>}
        <ul>
          {insights.data?.insights.map(({ text }) => (
            <li key={text}>{text}</li>
          ))}
        </ul>
      </section>
      <Chooser />
      <Taste />
    </div>
  );
}

/** Average rewards as bars, from -1 to 1; all of it can be taken along, and deleted. */
function Taste() {
  const preferences = usePreferences();
  const forget = async () => {
    try {
      const { deleted } = await request<{ deleted: number }>("DELETE", "/api/preferences", { query: whose() });
      for (const key of ["preferences", "recommendations", "insights", "feedback"])
        queryClient.invalidateQueries({ queryKey: [key] });
      toast("success", `Deleted: ${deleted} events`);
    } catch (error) {
      toastError(error);
    }
  };
  if (!preferences.data) return <Skeletons count={1} className="line" />;
  const charts = [
    { name: "Models", scores: scoresOf(preferences.data.modelPreferences) },
    { name: "Samplers", scores: scoresOf(preferences.data.samplerPreferences) },
    { name: "Styles", scores: preferences.data.stylePreferences },
    { name: "Colours", scores: preferences.data.colorPreferences },
    { name: "Moods", scores: preferences.data.moodPreferences },
  ].filter(({ scores }) => Object.keys(scores).length > 0);
  const user = whose().userId;
  return (
    <section className="card" aria-labelledby="taste">
      <h2 id="taste">Your taste</h2>
      <p className="muted">
        {preferences.data.totalGenerations} pictures drawn. Chosen by {preferences.data.algorithm.replace("_", " ")}.
      </p>
      {charts.length === 0 && (
        <Empty title="Nothing is known yet">
          <p>Stars, likes, favourites, shares and downloads in the gallery teach it.</p>
        </Empty>
      )}
      {charts.map(({ name, scores }) => (
        <dl key={name} className="scores">
          <dt className="muted">{name}</dt>
          {Object.entries(scores)
            .sort(([, one], [, other]) => other - one)
            .slice(0, 8)
            .map(([arm, score]) => (
              <dd key={arm}>
                <span className="ellipsis">{arm}</span>
                <meter min={-1} max={1} value={score} aria-label={`${name}: ${arm}`} />
                <span className="muted">{score.toFixed(2)}</span>
              </dd>
            ))}
        </dl>
      ))}
      <div className="actions">
        <LinkButton
          href={`/api/preferences/export${user ? `?userId=${encodeURIComponent(String(user))}` : ""}`}
          download="atelier-taste.json"
        >
          Export
        </LinkButton>
        <Button onPress={forget}>Delete my taste</Button>
      </div>
    </section>
  );
}

const scoresOf = (arms: Record<string, { score: number }>) =>
  Object.fromEntries(Object.entries(arms).map(([name, { score }]) => [name, score]));
