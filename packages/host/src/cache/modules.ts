/**
 * Imported for its effect, before everything else of a program: modules that are imported later come from a cache, types stripped
 * and compiled. It saves about 0.3 s of each start. Node's own NODE_COMPILE_CACHE goes before, NODE_DISABLE_COMPILE_CACHE turns it off.
 */
import { enableCompileCache } from 'node:module'
import { join } from 'node:path'
import { cacheFolder } from './folder.ts'

enableCompileCache(process.env.NODE_COMPILE_CACHE ?? join(cacheFolder(), 'modules'))
