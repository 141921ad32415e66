// How the site is at this moment: its engines, each by a real inference, its replicas and its queue.
import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import type { Schemas } from "../../api/client";
import { useEngines, useQueueInfo } from "../../api/queries";
import { counted } from "../../ui/format";
import { Table } from "../../ui/table";
import { Card, useAdmin } from "./card";

export function Standing() {
  const engines = useEngines();
  const queue = useQueueInfo();
  const versions = useAdmin<Schemas["VersionsResponse"]>("/api/admin/models", undefined, 10_000);
  const failing = Object.entries(engines.data?.models ?? {}).filter(([, { ready }]) => !ready);
  const served = (versions.data?.models ?? []).filter(({ role }) => role === "current");
  const short = served.filter(({ replicas, of }) => replicas < of);
  const asleep = engines.data?.asleep ?? [];
  return (
    <Card title="Now" query={engines}>
      {engines.data && (
        <dl className="facts columns">
          <Light name="Engines" good={failing.length === 0}>
            {engines.data.models_ready} of {engines.data.models_total} ready
          </Light>
          <Light name="Replicas" good={short.length === 0}>
            {short.length === 0 ? "each has its engines" : `${counted(short.length, "engine")} not in all of them`}
          </Light>
          {Object.entries(queue.data?.lanes ?? {}).map(([name, lane]) => (
            <Light key={name} name={`Lane ${name}`} good={!lane.is_paused}>
              {lane.processing} of {lane.slots} running, {lane.pending} waiting
              {lane.paused ? `, ${lane.paused} paused` : ""}
              {lane.is_paused ? ", stopped" : ""}
            </Light>
          ))}
        </dl>
      )}
      {asleep.length > 0 && <p className="muted">Scaled to zero until they are asked for: {asleep.join(", ")}.</p>}
      {failing.length + short.length > 0 && (
        <Table
          label="Engines that need attention"
          head={["Engine", "State", "Replicas"]}
          rows={[
            ...failing.map(([name, { reason }]): [string, ...ReactNode[]] => [
              name,
              name,
              <span key="reason" className="wraps">
                {reason || "not ready"}
              </span>,
              "",
            ]),
            ...short.map(({ engine, version, failure, replicas, of }): [string, ...ReactNode[]] => [
              `${engine}/${version}`,
              engine,
              <span key="failure" className="wraps">
                {failure || "not loaded everywhere"}
              </span>,
              `${replicas} of ${of}`,
            ]),
          ]}
        />
      )}
      <div className="actions">
        <Link to="/models" className="button plain">
          All engines
        </Link>
        <Link to="/queue" className="button plain">
          Queue
        </Link>
        <a className="button plain" href="/docs">
          The HTTP API
        </a>
      </div>
    </Card>
  );
}

function Light({ name, good, children }: { name: string; good: boolean; children: ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>
        <span className={good ? "dot good" : "dot bad"} role="img" aria-label={good ? "good" : "needs attention"} />{" "}
        {children}
      </dd>
    </div>
  );
}
