// What was made, how fast and how often it failed; and what it cost, by user.
import { useState } from "react";
import type { Schemas } from "../../api/client";
import { Segments } from "../../ui/controls";
import { Fact } from "../../ui/facts";
import { number, percent, seconds } from "../../ui/format";
import { Table } from "../../ui/table";
import { Card, useAdmin } from "./card";

const RANGES = { "24h": 24, "7d": 7 * 24, "30d": 30 * 24 };

export function Made() {
  const [range, setRange] = useState<keyof typeof RANGES>("7d");
  const query = useAdmin<Schemas["QualityResponse"]>("/api/admin/quality", { range });
  const { data } = query;
  const most = Math.max(...(data?.by_day ?? []).map((day) => day.total), 1);
  return (
    <Card title="What was made" query={query}>
      <Segments
        label="Range"
        value={range}
        onChange={(id) => setRange(id as keyof typeof RANGES)}
        options={[
          { id: "24h", name: "24 hours" },
          { id: "7d", name: "7 days" },
          { id: "30d", name: "30 days" },
        ]}
      />
      {data && (
        <>
          <dl className="facts columns">
            <Fact name="In all" value={number(data.total)} />
            <Fact name="An hour" value={(data.total / RANGES[range]).toFixed(1)} />
            <Fact name="Succeeded" value={percent(data.success_rate)} />
            <Fact name="From the cache" value={percent(data.cache_hit_rate)} />
            <Fact
              name="Median, p95"
              value={`${seconds(data.p50_generation_time_s)}, ${seconds(data.p95_generation_time_s)}`}
            />
          </dl>
          {data.by_day.length > 1 && (
            <ul className="days" aria-label="By day">
              {data.by_day.map((day) => (
                <li key={day.day} title={`${day.day}: ${day.total}, ${day.successes} succeeded`}>
                  <span className="muted">{number(day.total)}</span>
                  <span className="bar" style={{ blockSize: `${(day.total / most) * 100}%` }} />
                  <span className="muted">{day.day.slice(5)}</span>
                </li>
              ))}
            </ul>
          )}
          {data.by_model.length > 0 && (
            <Table
              label="By model"
              head={["Model", "Made", "Succeeded", "Mean time"]}
              rows={data.by_model.map((row) => [
                row.model ?? "–",
                row.model ?? "–",
                number(row.total),
                percent(row.success_rate),
                seconds(row.average_generation_time_s),
              ])}
            />
          )}
          {data.errors.length > 0 && (
            <Table
              label="Errors"
              head={["Error", "Times"]}
              rows={data.errors.map((row) => [
                row.message ?? "–",
                <span key="message" className="wraps">
                  {row.message ?? "–"}
                </span>,
                number(row.total),
              ])}
            />
          )}
        </>
      )}
    </Card>
  );
}

export function Costs() {
  const query = useAdmin<Schemas["CostsResponse"]>("/api/admin/costs", { by: "user" });
  const costs = query.data?.costs ?? [];
  const priced = costs.some(({ money }) => money !== null);
  return (
    <Card title="Use by user" query={query}>
      {query.data && costs.length === 0 && <p className="muted">Nobody has used this site within 30 days.</p>}
      {costs.length > 0 && (
        <Table
          label="Use by user"
          head={["User", "Requests", "Processor", "GPU", ...(priced ? [`Costs, ${query.data?.currency}`] : [])]}
          rows={costs.map((row) => [
            row.of ?? "",
            row.of ?? "–",
            number(row.requests),
            seconds(row.cpu_seconds),
            seconds(row.gpu_seconds),
            ...(priced ? [row.money?.toFixed(2) ?? "–"] : []),
          ])}
        />
      )}
    </Card>
  );
}
