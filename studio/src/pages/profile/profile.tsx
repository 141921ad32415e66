import { useQuery } from "@tanstack/react-query";
import { request, type Schemas } from "../../api/client";
import { queryClient } from "../../api/queries";
import { Button, Segments } from "../../ui/controls";
import { Fact } from "../../ui/facts";
import { Skeletons } from "../../ui/feedback";
import { seconds, when } from "../../ui/format";
import { type Theme, useTheme } from "../../ui/theme";
import { SignInForm } from "./sign_in";

export function Profile() {
  const me = useQuery({ queryKey: ["me"], queryFn: () => request<Schemas["MeResponse"]>("GET", "/v1/me") });
  const costs = useQuery({
    queryKey: ["costs"],
    queryFn: () => request<Schemas["OwnCostsResponse"]>("GET", "/v1/me/costs"),
  });
  const [theme, setTheme] = useTheme();
  const signOut = async () => {
    await request("DELETE", "/api/session");
    await globalThis.caches?.delete("thumbnails");
    sessionStorage.clear();
    await queryClient.resetQueries();
  };
  if (me.isPending || costs.isPending) {
    return (
      <div className="page">
        <h1>Profile</h1>
        <Skeletons count={3} className="line" />
      </div>
    );
  }
  return (
    <div className="page">
      <h1>Profile</h1>
      <section className="card" aria-labelledby="who">
        <h2 id="who">Who you are here</h2>
        {me.data ? (
          <dl className="facts">
            <Fact name="User" value={me.data.user_id} />
            <Fact name="Role" value={me.data.role} />
            <Fact
              name="Key"
              value={me.data.key_id ? `${me.data.name || "unnamed"} (${me.data.key_id})` : "none needed"}
            />
            <Fact name="May" value={me.data.scopes.join(", ")} />
          </dl>
        ) : (
          <Skeletons count={1} className="line" />
        )}
        {me.data?.key_id && <Button onPress={signOut}>Sign out</Button>}
      </section>
      {me.data && !me.data.key_id && (
        <section className="card" aria-labelledby="other">
          <h2 id="other">Sign in as somebody else</h2>
          <p>
            This site needs no key here. With one you have pictures of your own, and an administrator's opens Operate:{" "}
            <code>atelier keys create --user ada --role admin</code>.
          </p>
          <SignInForm />
        </section>
      )}
      <section className="card" aria-labelledby="use">
        <h2 id="use">What you have used</h2>
        {costs.data ? (
          <dl className="facts">
            <Fact name="Since" value={when(costs.data.since)} />
            <Fact name="Requests" value={String(costs.data.requests)} />
            <Fact name="Processor" value={seconds(costs.data.cpu_seconds)} />
            <Fact name="GPU" value={seconds(costs.data.gpu_seconds)} />
            {costs.data.money !== null && (
              <Fact name="Costs" value={`${costs.data.money.toFixed(2)} ${costs.data.currency}`} />
            )}
          </dl>
        ) : (
          <Skeletons count={1} className="line" />
        )}
      </section>
      <section className="card" aria-labelledby="look">
        <h2 id="look">Look</h2>
        <Segments
          label="Theme"
          value={theme}
          onChange={(next) => setTheme(next as Theme)}
          options={[
            { id: "dark", name: "Dark" },
            { id: "light", name: "Light" },
          ]}
        />
      </section>
    </div>
  );
}
