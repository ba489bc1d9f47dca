import { useEffect, useState } from "react";

import { version } from "../package.json";

/** Return the path of the address bar, and a function that goes to another one without asking the server. */
function usePath() {
  const [path, setPath] = useState(window.location.pathname);
  useEffect(() => {
    const back = () => setPath(window.location.pathname);
    window.addEventListener("popstate", back);
    return () => window.removeEventListener("popstate", back);
  }, []);
  const go = (to) => {
    window.history.pushState({}, "", to);
    setPath(to);
  };
  return [path, go];
}

export default function Shop() {
  const [path, go] = usePath();
  const [books, setBooks] = useState([]);
  const [trouble, setTrouble] = useState("");

  useEffect(() => {
    fetch("/api/books/")
      .then((answer) => (answer.ok ? answer.json() : Promise.reject(new Error(`the backend answered ${answer.status}`))))
      .then(setBooks)
      .catch((error) => setTrouble(error.message));
  }, []);

  const open = books.find((book) => path === `/books/${book.id}`);
  return (
    <main>
      <h1>Bookshop</h1>
      {trouble ? <p role="alert">{trouble}</p> : null}
      {open ? (
        <article>
          <h2>{open.title}</h2>
          <p>{open.price}</p>
          <button onClick={() => go("/")}>All books</button>
        </article>
      ) : (
        <ul>
          {books.map((book) => (
            <li key={book.id}>
              <button onClick={() => go(`/books/${book.id}`)}>{book.title}</button>
            </li>
          ))}
        </ul>
      )}
      <footer>Version {version}</footer>
    </main>
  );
}
