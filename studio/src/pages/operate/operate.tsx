// What an administrator looks at, a part at a time: the site now, its users, engines, trials, and the audit log.
import { useNavigate, useRouterState } from "@tanstack/react-router";
import { Segments } from "../../ui/controls";
import { Accounts } from "./accounts";
import { Audit } from "./audit";
import { Cohorts } from "./cohorts";
import { EngineVersions } from "./engine_versions";
import { Experiments } from "./experiments";
import { Fallback } from "./fallback";
import { Flags } from "./flags";
import { Costs, Made } from "./made";
import { Standing } from "./standing";

const VIEWS = [
  { id: "site", name: "Site" },
  { id: "users", name: "Users" },
  { id: "engines", name: "Engines" },
  { id: "trials", name: "Trials" },
  { id: "audit", name: "Audit" },
];

export function Operate() {
  const hash = useRouterState({ select: (state) => state.location.hash });
  const navigate = useNavigate();
  const view = VIEWS.find(({ id }) => id === hash)?.id ?? "site";
  return (
    <div className="page">
      <h1>Operate</h1>
      <Segments
        label="Part"
        value={view}
        onChange={(id) => navigate({ to: "/operate", hash: id, replace: true, resetScroll: false })}
        options={VIEWS}
      />
      {view === "site" && (
        <>
          <Standing />
          <Made />
          <Costs />
          <Fallback />
        </>
      )}
      {view === "users" && (
        <>
          <Accounts />
          <Cohorts />
        </>
      )}
      {view === "engines" && <EngineVersions />}
      {view === "trials" && (
        <>
          <Experiments />
          <Flags />
        </>
      )}
      {view === "audit" && <Audit />}
    </div>
  );
}
