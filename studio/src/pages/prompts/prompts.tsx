// Prompts of one's own, as they were drawn, and the site's presets: searched, kept as favourites, taken again.
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { Segments } from "../../ui/controls";
import { keepSettings } from "../create/settings";
import { History } from "./history";
import { Memories } from "./memories";
import { Presets } from "./presets";

const VIEWS = [
  { id: "history", name: "History" },
  { id: "favourites", name: "Favourites" },
  { id: "presets", name: "Presets" },
  { id: "memories", name: "Memories" },
];

export function Prompts() {
  const [view, setView] = useState("history");
  const navigate = useNavigate();
  const use = (prompt: string) => {
    keepSettings({ prompt });
    navigate({ to: "/" });
  };
  return (
    <div className="page">
      <h1>Prompts</h1>
      <Segments label="Which prompts" value={view} onChange={setView} options={VIEWS} />
      {view === "presets" && <Presets use={use} />}
      {view === "memories" && <Memories />}
      {(view === "history" || view === "favourites") && (
        <History key={view} favorites={view === "favourites"} use={use} />
      )}
    </div>
  );
}
