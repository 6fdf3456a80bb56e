// Serves page/ on localhost, where a page may use the camera.

import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const FOLDER = fileURLToPath(new URL('../page/', import.meta.url));
const TYPES = { '.html': 'text/html', '.js': 'text/javascript' };

async function serve(request, response) {
  const name = request.url === '/' ? 'index.html' : request.url.slice(1);
  try {
    if (!/^[a-z_]+\.(html|js)$/.test(name)) throw new Error('not a file of the page');
    const body = await readFile(join(FOLDER, name));
    response.writeHead(200, { 'content-type': TYPES[extname(name)], 'cache-control': 'no-store' });
    response.end(body);
  } catch {
    response.writeHead(404).end();
  }
}

export async function servePages() {
  const server = createServer(serve);
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  const close = () => new Promise((resolve) => { server.close(resolve); server.closeAllConnections(); });
  return { address: `http://localhost:${server.address().port}/`, close };
}
