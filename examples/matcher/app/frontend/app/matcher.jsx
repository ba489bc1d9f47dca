"use client";

import { useEffect, useState } from "react";

// Next.js writes the value into the bundle when it is built: another environment needs another image.
const backend = process.env.NEXT_PUBLIC_BACKEND_BASE_URL ?? "";

const MOODS = ["calm", "bright", "bold"];

export default function Matcher() {
  const [mood, setMood] = useState(MOODS[0]);
  const [scents, setScents] = useState([]);
  const [trouble, setTrouble] = useState("");

  useEffect(() => {
    const stale = new AbortController();
    fetch(`${backend}/api/scents/?mood=${mood}`, { signal: stale.signal })
      .then((answer) => (answer.ok ? answer.json() : Promise.reject(new Error(`the backend answered ${answer.status}`))))
      .then((found) => {
        setScents(found);
        setTrouble("");
      })
      .catch((error) => error.name === "AbortError" || setTrouble(error.message));
    return () => stale.abort();
  }, [mood]);

  return (
    <>
      <nav>
        {MOODS.map((one) => (
          <button key={one} aria-pressed={one === mood} onClick={() => setMood(one)}>
            {one}
          </button>
        ))}
      </nav>
      {trouble ? <p role="alert">{trouble}</p> : null}
      <ul>
        {scents.map((scent) => (
          <li key={scent.id}>
            <strong>{scent.name}</strong> {scent.notes}
          </li>
        ))}
      </ul>
    </>
  );
}
