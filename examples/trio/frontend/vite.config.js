import { defineConfig } from "vite";

export default defineConfig({
  esbuild: { jsx: "automatic" },
  // On a laptop the backend is the bookshop's own server.
  server: { port: 3000, proxy: { "/api": "http://127.0.0.1:8000" } },
});
