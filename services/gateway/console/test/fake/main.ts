// `npm run fake`: a lab's working day at http://127.0.0.1:8080, for working on the page without the mesh; `npm run fake --
// grand` gives it a data centre of 1,523 nodes. Besides alice there is root, an admin.
import { Mesh } from "./mesh.js";
import { grand, lab } from "./scene.js";

const mesh = new Mesh();
const live = lab(mesh);
if (process.argv.includes("grand")) grand(mesh);
console.log(`${await mesh.start(8080)}  users ${mesh.user} and root  password "${mesh.password}"`);
let step = 0;
setInterval(() => mesh.jobs.write(live, `step ${7600 + step * 10}  loss ${(1.8 - step / 5000).toFixed(4)}`, step++ % 2), 700);
