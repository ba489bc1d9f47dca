import "./site.css";

export const metadata = { title: "Scent matcher", description: "Finds a perfume for a mood." };

export default function Layout({ children }) {
  return (
    <html lang="en">
      <body>{children}</body>
    </html>
  );
}
