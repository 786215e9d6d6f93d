// `npm run fake`: the scene at http://127.0.0.1:8080, for working on the page without the mesh.
import { Mesh } from "./mesh.js";
import { lab } from "./scene.js";

const mesh = new Mesh();
const live = lab(mesh);
console.log(`${await mesh.start(8080)}  user ${mesh.user}  password "${mesh.password}"`);
let step = 0;
setInterval(() => mesh.write(live, `step ${7600 + step * 10}  loss ${(1.8 - step / 5000).toFixed(4)}`, step++ % 2), 700);
