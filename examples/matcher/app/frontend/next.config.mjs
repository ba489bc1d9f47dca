/** @type {import('next').NextConfig} */
const config = {
  // A folder with a server.js and only those modules that it needs: what the image carries.
  output: "standalone",
  poweredByHeader: false,
  images: { unoptimized: true },
};

export default config;
