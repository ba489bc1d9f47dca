import Matcher from "./matcher";

export default function Page() {
  return (
    <main>
      <h1>Scent matcher</h1>
      <p className="tagline">Which one today?</p>
      <Matcher />
    </main>
  );
}
